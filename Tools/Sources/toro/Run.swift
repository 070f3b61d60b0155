import ArgumentParser
import Foundation
import Launcher

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Builds a package if needed and boots its image as a microVM.",
        usage: "toro run <path> [--share TAG=FOLDER[:ro|:rw]] [--publish [HOST:]PORT:GUESTPORT] …",
        discussion: """
            The guest sees the folders you share, read-only unless you add :rw, and is reached at \
            the ports you publish, on loopback unless you name a host. What the package's \
            toro.json says it needs has defaults there.

            Ends with the guest's exit status; with 125 if a part of the run failed, 64 for wrong \
            usage, 69 if a program is missing. Ctrl-C ends the guest and everything that serves it.

            With --watch a package is built and booted anew whenever one of its files is saved. The \
            guest that serves goes on until the next one is ready, so that no client is lost, and \
            also when there is a mistake, which is shown.

              toro run Samples/StaticWebServer
              toro run Samples/StaticWebServer --watch
              toro run Samples/StaticWebServer --share site=$HOME/www --publish 9000:80
            """)

    @Argument(help: "A package's folder, or an image that was built.") var path: String
    @Option(
        name: [.customShort("v"), .long],
        help: """
            TAG=FOLDER[:ro|:rw]: a folder that the guest sees under that tag. Only a mode at the very \
            end is one: a folder called a:rw is a:rw:ro here.
            """)
    var share: [String] = []
    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: "[HOST:]PORT:GUESTPORT: a port of this host that leads to one of the guest.")
    var publish: [String] = []
    @Option(name: [.customShort("m", allowingJoined: true), .long], help: "RAM, such as 32M.")
    var memory: String?
    @Option(help: "Cores.") var cpus = 1
    @Option(help: "auto, kvm or tcg.") var accel = "auto"
    @Option(
        name: [.customShort("e"), .customLong("env")],
        help: """
            NAME=VALUE for the service's environment, or NAME for the value it has here, which then \
            no list of processes shows.
            """)
    var environment: [String] = []
    @Option(help: "A file of such entries, one a line; # begins a comment, and nothing is quoted.")
    var envFile: [String] = []
    @Option(name: .shortAndLong, help: "How a package is built: debug (the default) or release.")
    var configuration: BuildConfiguration?
    @Flag(name: .shortAndLong, help: "Builds and boots anew whenever a source is saved.")
    var watch = false
    @Option(help: "The seconds that the service has to listen on a published port.")
    var readyTime = 10
    @Option(help: "The seconds that a client may take nothing of what is there for it.")
    var stallTime = 120
    @Option(help: "The clients that are connected at most; more wait until others leave.")
    var connections = 4096
    @Option(help: "The memory of this host that all clients together may take at most.")
    var memoryBudget = "32M"
    @Flag(name: .shortAndLong, help: "Says nothing but what the guest says.") var quiet = false
    @Flag(
        help: """
            Lets control sequences of the guest reach the terminal; without it only text, tabs, line \
            ends and colours do. What is no terminal gets every byte.
            """)
    var raw = false
    @Argument(parsing: .postTerminator, help: "The service's arguments, behind --.")
    var arguments: [String] = []

    func run() throws {
        try Toro.reporting {
            // What the user got wrong is said before anything is built.
            let wishes = try Wishes(
                shares: share.map { try Share(parsing: $0) },
                ports: publish.map { try PublishedPort(parsing: $0) }, limits: limits(),
                machine: machine(), memory: memory.map { try MemorySize(parsing: $0) })
            if watch { return try serve(wishes) }
            let subject = try self.subject()
            // Before anything is built.
            _ = try wishes.join(subject.manifest, package: subject.folder)
            let image = try subject.image()
            if let other = image.staleSymbols {
                say("\(other) is of another build: a panic will have addresses only")
            }
            var (machine, shares, ports) = try wishes.join(
                image.manifest, package: subject.folder)
            machine.image = image.path
            let launch = try Launch(
                machine, shares: shares, ports: ports, device: Toro.vsockDevice,
                limits: wishes.limits)
            sayBooting(image, machine)
            launch.isRaw = raw
            launch.onReady = { say("ready: " + Run.name(of: $0, image)) }
            launch.onSilent = { Run.saySilent($0) }
            launch.onStuck = { Toro.say($0) }
            launch.onPanic = { report in
                Toro.say(report.description(symbols: SymbolTable(of: image.symbols)))
            }
            return try launch.run()
        }
    }

    /// What the user asked for, beside the image.
    struct Wishes: Sendable {
        let shares: [Share]
        let ports: [PublishedPort]
        let limits: PortLimits
        let machine: Machine
        let memory: MemorySize?

        /// What is booted, but for the image: the wishes, and what it needs besides. Throws if
        /// there can be no such machine here.
        func join(
            _ manifest: Manifest, package: String?
        ) throws -> (Machine, [Share], [PublishedPort]) {
            let needs = Needs(manifest, package: package)
            var machine = machine
            machine.memory = try needs.memory(given: memory).description
            let (shares, ports) = (try needs.shares(given: shares), try needs.ports(given: ports))
            try machine.check(shares: shares.count, ports: ports.count)
            return (machine, shares, ports)
        }
    }

    func sayBooting(_ image: Image, _ machine: Machine) {
        let name = URL(fileURLWithPath: image.path).deletingPathExtension().lastPathComponent
        let built = image.configuration.map { ", built for \($0)" } ?? ""
        say(
            "booting \(name): \(image.size) bytes\(built), \(machine.memory) of RAM, "
                + "\(machine.accelerator.resolved.rawValue.uppercased())")
    }

    /// What a client types, and what it gets there.
    static func name(of port: PublishedPort, _ image: Image) -> String {
        let need = image.manifest.ports?.first { $0.guest == port.guestPort }
        let url = need?.scheme.map { "\($0)://\(port.address)/" } ?? port.address
        return url + (need?.purpose.map { " (\($0))" } ?? "")
    }

    static func saySilent(_ port: PublishedPort) {
        Toro.say(
            """
            the guest does not listen on its port \(port.guestPort): clients of \
            \(port.address) are turned away until it does. Is it the service's port? \
            A service that takes long to start gets more time with --ready-time
            """)
    }

    func say(_ text: String) {
        if !quiet { Toro.say(text) }
    }

    private func limits() throws -> PortLimits {
        for (name, value) in [
            ("ready-time", readyTime), ("stall-time", stallTime), ("connections", connections),
        ] where !(1...1_000_000).contains(value) {
            throw LaunchError.usage("--\(name) takes a number from 1 to 1000000, not \(value)")
        }
        var limits = PortLimits()
        limits.readyTime = UInt64(readyTime)
        limits.stallTime = UInt64(stallTime)
        limits.connections = UInt64(connections)
        limits.memoryBudget = try MemorySize(parsing: memoryBudget).bytes
        return limits
    }

    private func machine() throws -> Machine {
        var machine = Machine(image: "")
        guard let accelerator = Accelerator(rawValue: accel) else {
            throw LaunchError.usage("--accel takes auto, kvm or tcg, not \(accel)")
        }
        guard (1...Machine.maximumCores).contains(cpus) else {
            throw LaunchError.usage(
                "--cpus takes a number from 1 to \(Machine.maximumCores), not \(cpus)")
        }
        machine.accelerator = accelerator
        machine.cores = cpus
        machine.arguments = arguments
        // The last entry of a name counts: an option's, whatever a file says.
        machine.environment = try envFile.flatMap { try ServiceEnvironment.entries(file: $0) }
        machine.environment += try environment.map { try ServiceEnvironment.entry($0) }
        try machine.checkParameters()
        return machine
    }

    /// What the path leads to.
    private struct Subject {
        /// A package's folder; nil for an image.
        let folder: String?
        /// What it needs.
        let manifest: Manifest
        /// Builds it unless it is an image.
        let image: () throws -> Image
    }

    private func subject() throws -> Subject {
        let full = try Toro.absolute(path)
        guard try HostFile.isFolder(full) else {
            let image = try Image(file: full)
            guard configuration == nil else {
                throw LaunchError.usage("\(path) is an image: it is built already, without -c")
            }
            return Subject(folder: nil, manifest: image.manifest) { image }
        }
        return Subject(folder: full, manifest: try Manifest(package: full)) {
            try Toro.build(full, configuration ?? .debug, quiet: quiet)
        }
    }
}
