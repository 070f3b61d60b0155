import ArgumentParser
import Glibc
import VhostUser
import VsockDevice

/// A port to publish: [HOST:]PORT:GUESTPORT or unix:PATH:GUESTPORT; with fd:N,M: before the former if
/// descriptors N and M listen there.
struct PublishOption: ExpressibleByArgument {
    let address: HostAddress
    let guestPort: UInt32
    var inherited: [Int32]?

    init?(argument: String) {
        guard let mark = argument.lastIndex(of: ":"),
            let guestPort = UInt32(argument[argument.index(after: mark)...])
        else { return nil }
        self.guestPort = guestPort
        var rest = argument[..<mark]
        if rest.hasPrefix("fd:") {
            let words = rest.split(separator: ":", maxSplits: 2)
            guard words.count == 3 else { return nil }
            let files = words[1].split(separator: ",", omittingEmptySubsequences: false).map {
                Int32($0) ?? -1
            }
            guard files.allSatisfy({ $0 > 2 }) else { return nil }
            inherited = files
            rest = words[2]
        } else if rest.hasPrefix("unix:") {
            address = .unix(path: String(rest.dropFirst(5)))
            return
        }
        let name = rest.lastIndex(of: ":")
        guard let port = UInt16(name.map { rest[rest.index(after: $0)...] } ?? rest) else {
            return nil
        }
        var host = name.map { rest[..<$0] } ?? "127.0.0.1"
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        address = .tcp(host: String(host), port: port)
    }
}

/// A number of bytes: digits, and K, M or G for a unit.
struct ByteCount: ExpressibleByArgument {
    let bytes: Int

    init(_ bytes: Int) { self.bytes = bytes }

    init?(argument: String) {
        let shifts: [Character: Int] = ["K": 10, "M": 20, "G": 30]
        let shift = argument.last.flatMap { shifts[$0] }
        guard let number = Int(shift == nil ? argument[...] : argument.dropLast()), number >= 0,
            number <= Int.max >> (shift ?? 0)
        else { return nil }
        bytes = number << (shift ?? 0)
    }

    var defaultValueDescription: String { "\(bytes)" }
}

@main struct VsockDeviceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "toro-vsock-device",
        abstract: "Serves virtio-vsock to a guest: the back end of QEMU's vhost-user-vsock-device.",
        discussion: """
            Bytes of published ports move between the client's socket and guest memory directly. \
            Ends when QEMU does, and with an error when the guest breaks the rules of its queues.
            """)

    @Option(help: "The Unix socket that QEMU connects to.") var socket: String
    @Option(help: "The guest's address, from 3.") var cid: UInt64 = 3
    @Option(
        help: """
            [HOST:]PORT:GUESTPORT or unix:PATH:GUESTPORT; without a host, loopback. \
            With fd:N,M: before it, descriptors N and M listen there already.
            """)
    var publish: [PublishOption] = []
    @Option(help: "The bytes kept for each client at most, as in 262144 or 256K.")
    var bufferSize = ByteCount(256 << 10)
    @Option(help: "The bytes kept for all clients together at most, as in 32M.")
    var memoryBudget = ByteCount(32 << 20)
    @Option(help: "The clients that are connected at most; more wait until others leave.")
    var connections = 4096
    @Option(
        help: """
            The seconds that a client may take nothing of what the guest has left for it, before it \
            is reset.
            """)
    var stallTime = 120
    @Option(
        help: """
            The seconds that the guest may take to listen on a published port, before the port's \
            clients are reset.
            """)
    var readyTime = 10
    @Option(
        help: """
            A descriptor that gets the lines "listening HOST:PORT GUESTPORT" when a port is bound, \
            "ready HOST:PORT GUESTPORT" when the guest listens, and "silent HOST:PORT GUESTPORT" \
            when it does not within --ready-time; unix:PATH for a Unix socket.
            """)
    var readyFd: Int32?
    @Option(
        help: """
            A pipe for guests that take turns at the same listeners: this one takes clients from the \
            first byte until the pipe ends, and says "left" when it has none any more.
            """)
    var turnFd: Int32?

    static func main() {
        // Otherwise a socket would get the number of a stream that the caller has closed.
        for number in 0...2 where fcntl(Int32(number), F_GETFD) < 0 {
            // SAFETY: the path is a C string for the call.
            _ = unsafe open("/dev/null", O_RDWR)
        }
        main(nil)
    }

    func validate() throws {
        guard cid >= 3, cid < UInt64(UInt32.max) else {
            throw ValidationError("--cid takes a number from 3 to 4294967294")
        }
        guard (1...Int(UInt32.max / 4)).contains(bufferSize.bytes) else {
            throw ValidationError("--buffer-size takes 1 byte to 1 GiB")
        }
        guard memoryBudget.bytes >= bufferSize.bytes else {
            throw ValidationError("--memory-budget takes at least --buffer-size")
        }
        guard connections > 0 else { throw ValidationError("--connections takes at least 1") }
        let seconds = 1...1_000_000
        guard seconds.contains(stallTime), seconds.contains(readyTime) else {
            throw ValidationError("--stall-time and --ready-time take 1 to 1000000 seconds")
        }
    }

    func run() throws {
        do throws(HostError) {
            try serve()
        } catch {
            fputs("toro-vsock-device: \(error.description)\n")
            throw ExitCode(1)
        }
    }

    private func serve() throws(HostError) {
        raiseDescriptorLimit()
        let limits = GuestLimits(
            bufferSize: bufferSize.bytes, memoryBudget: memoryBudget.bytes,
            connections: connections, stallTime: stallTime, readyTime: readyTime)
        let service = try Service(cid: cid, limits: limits, announce: announce) {
            fputs("toro-vsock-device: \($0)\n")
        }
        for option in publish {
            guard let files = option.inherited else {
                try service.publish(option.address, guestPort: option.guestPort)
                continue
            }
            guard let listener = HostListener(inherited: files, option.address) else {
                throw HostError("one of the descriptors \(files) is no socket that listens")
            }
            service.publish(listener, guestPort: option.guestPort)
        }
        if let turnFd { try service.takeTurns(turnFd) }
        try service.open(socket)
        try confine()
        try service.run()
    }

    private func announce(_ line: String) {
        guard let readyFd else { return }
        let bytes = Array((line + "\n").utf8)
        // SAFETY: the length is the array's.
        _ = unsafe write(readyFd, bytes, bytes.count)
    }

    private func fputs(_ text: String) {
        let bytes = Array(text.utf8)
        // SAFETY: the length is the array's.
        _ = unsafe write(2, bytes, bytes.count)
    }

    /// Each client needs a descriptor: as many as the system grants.
    private func raiseDescriptorLimit() {
        var limit = rlimit()
        // SAFETY: the structure outlives both calls.
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return
        }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
