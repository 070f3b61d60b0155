#if !hasFeature(Embedded)
import CToroHost
import Glibc
public import ToroCore

/// The Linux process a service is wired on: its arguments, folders and ports.
///
/// The command line is that of `toro run`, so that the same service is started the same way:
///
///     StaticWebServerHost --share site=FOLDER --publish [HOST:]PORT:80 [-- ARGUMENTS]
@Core public final class Host {
    /// The service's arguments: what stands behind `--`.
    public let arguments: [String]
    private var shares: [(tag: String, folder: String)] = []
    private var ports: [(host: String, port: UInt16, guest: UInt32)] = []

    /// The process with these words behind its name on the command line.
    public init(_ words: [String]) throws(WiringError) {
        var left = words[...]
        while let word = left.first, word != "--" {
            guard left.count >= 2, let value = left.dropFirst().first else {
                throw .badArgument("\(word) stands alone; options are --share and --publish")
            }
            switch word {
            case "--share": shares.append(try Host.share(value))
            case "--publish": ports.append(try Host.port(value))
            default: throw .badArgument("\(word) is unknown; options are --share and --publish")
            }
            left = left.dropFirst(2)
        }
        arguments = Array(left.dropFirst())
    }

    /// The folder that `--share TAG=FOLDER` named.
    public func folder(tag: String) throws(WiringError) -> HostFolder {
        guard let share = shares.last(where: { $0.tag == tag }) else {
            throw .badArgument("the share \(tag) is needed: --share \(tag)=FOLDER")
        }
        do throws(FileError) {
            return try HostFolder(share.folder)
        } catch {
            throw .badArgument("\(share.folder): \(error.explanation)")
        }
    }

    /// The port that `--publish [HOST:]PORT:GUESTPORT` named, on loopback without a host.
    public func listen(_ guestPort: UInt32) throws(WiringError) -> HostListener {
        guard let port = ports.last(where: { $0.guest == guestPort }) else {
            throw .badArgument("port \(guestPort) is needed: --publish PORT:\(guestPort)")
        }
        do throws(ListenError) {
            return try HostListener(host: port.host, port: port.port)
        } catch {
            throw .badArgument("\(port.host):\(port.port): \(error.explanation)")
        }
    }

    /// Whether the process's environment has this variable, with whatever value.
    public func isSet(_ name: StaticString) -> Bool { environment(name.description) != nil }

    /// A variable of the process's environment.
    public func environment(_ name: String) -> String? {
        // SAFETY: the name is a C string for the call, and the value is copied at once.
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    private static func share(
        _ text: String
    ) throws(WiringError) -> (tag: String, folder: String) {
        guard let mark = text.firstIndex(of: "="), mark != text.startIndex else {
            throw .badArgument("--share takes TAG=FOLDER, not \(text)")
        }
        return (String(text[..<mark]), String(text[text.index(after: mark)...]))
    }

    private static func port(
        _ text: String
    ) throws(WiringError) -> (host: String, port: UInt16, guest: UInt32) {
        let words = text.split(separator: ":", omittingEmptySubsequences: false)
        guard words.count >= 2, let port = UInt16(words[words.count - 2]),
            let guest = UInt32(words[words.count - 1])
        else { throw .badArgument("--publish takes [HOST:]PORT:GUESTPORT, not \(text)") }
        let host = words.dropLast(2).joined(separator: ":")
        return (host.isEmpty ? "127.0.0.1" : host, port, guest)
    }
}

/// A program: a microservice and the folders and ports it is wired to.
///
///     @main struct Program: HostProgram {
///         static func wire(_ host: Host) async throws(WiringError) -> some Microservice {
///             HelloWeb(site: try host.folder(tag: "site"), port: try host.listen(80))
///         }
///     }
@Core public protocol HostProgram: SendableMetatype {
    /// The service that `wire` puts together.
    associatedtype Service: Microservice

    /// Opens folders and ports and puts the service together.
    static func wire(_ host: Host) async throws(WiringError) -> Service
}

extension HostProgram {
    /// Wires the service, runs it, and ends with its exit status: 0, 1 if it threw, 2 if it could
    /// not be wired.
    public nonisolated static func main() {
        toro_host_raise_file_limit()
        _ = HostCore.shared
        Task { @Core in await run() }
        while true { pause() }
    }

    private static func run() async {
        let service: Service
        do throws(WiringError) {
            let words = Array(CommandLine.arguments.dropFirst())
            service = try await wire(try Host(words))
        } catch {
            say(error.explanation)
            exit(2)
        }
        var status: Int32 = 0
        do throws(Service.Failure) {
            try await service.run()
        } catch {
            say("the service failed: " + error.explanation)
            status = 1
        }
        // Clients that are reading their last answers get them.
        await HostCore.shared.settleClosed(within: .seconds(30))
        exit(status)
    }

    private static func say(_ text: String) {
        let line = Array("toro: \(text)\n".utf8)
        // SAFETY: the length is the array's.
        _ = unsafe write(2, line, line.count)
    }
}
#endif
