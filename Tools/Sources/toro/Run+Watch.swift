import Foundation
import Launcher

/// The edit loop.
extension Run {
    /// Builds and boots the package whenever it is saved, until a signal comes.
    func serve(_ wishes: Wishes) throws -> Int32 {
        let package = try Toro.absolute(path)
        guard try HostFile.isThere(package + "/Package.swift") else {
            throw LaunchError.usage("--watch takes a package's folder, and \(path) is none")
        }
        let configuration = configuration ?? .debug
        let builder = ImageBuild(root: try Toro.root, configuration: configuration)
        // What a guest is to see anew is no reason to build.
        var own: [String] = []
        do {
            own = try Manifest(package: package).shares?.compactMap(\.folder) ?? []
        } catch {
            // The build says what is wrong with it.
            if Interrupts.haveCome { throw error }
        }
        let shared = own.map { package + "/" + $0 } + wishes.shares.map(\.folder)
        let loop = try EditLoop(package, builder: builder, shared: shared) { [quiet, raw] in
            let image = try Toro.build(package, configuration, quiet: quiet)
            var (machine, shares, ports) = try wishes.join(image.manifest, package: package)
            machine.image = image.path
            // The next build puts others in their place.
            let symbols = HeldFile(image.symbols)
            return EditLoop.Plan(
                image, machine, shares: shares, ports: ports, device: Toro.vsockDevice,
                limits: wishes.limits, isRaw: raw, onStuck: { Toro.say($0) }
            ) { Toro.say($0.description(symbols: SymbolTable(of: symbols.path))) }
        } tell: {
            tell($0)
        }
        try loop.run()
    }

    private func tell(_ event: EditLoop.Event) {
        switch event {
        case .booting(let image, let machine): sayBooting(image, machine)
        case .ready(let port, let image, nil): say("ready: " + Run.name(of: port, image))
        case .ready(let port, let image, let time?):
            let seconds = String(format: "%.2f", time / .seconds(1))
            say("ready: \(Run.name(of: port, image)), \(seconds) s after the change")
        case .silent(let port): Run.saySilent(port)
        case .ended(let status):
            Toro.say("the guest ended with status \(status). Waiting for a change")
        case .unchanged: say("what was saved changes nothing")
        case .failed(let error, let goesOn):
            let rest = goesOn ? "The guest before goes on. " : ""
            Toro.say("\(error)\ntoro: \(rest)Waiting for a change")
        }
    }
}

/// A file that stays what it is, whatever is put in its place.
private final class HeldFile: Sendable {
    private let file: Int32
    /// Where it is found; its own name if it could not be opened.
    let path: String

    init(_ path: String) {
        // SAFETY: the path is a C string for the call.
        file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        self.path = file < 0 ? path : "/proc/\(getpid())/fd/\(file)"
    }

    deinit { if file >= 0 { close(file) } }
}
