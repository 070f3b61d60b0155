import ArgumentParser
import Glibc
import VhostUser
import VsockDevice

/// A port to publish: [HOST:]PORT:GUESTPORT or unix:PATH:GUESTPORT.
struct PublishOption: ExpressibleByArgument {
    let address: HostAddress
    let guestPort: UInt32

    init?(argument: String) {
        guard let mark = argument.lastIndex(of: ":"),
            let guestPort = UInt32(argument[argument.index(after: mark)...])
        else { return nil }
        self.guestPort = guestPort
        let rest = argument[..<mark]
        if rest.hasPrefix("unix:") {
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
    @Option(help: "[HOST:]PORT:GUESTPORT or unix:PATH:GUESTPORT; without a host, loopback.")
    var publish: [PublishOption] = []
    @Option(help: "The bytes kept for each client at most.") var bufferSize: UInt32 = 256 << 10
    @Option(
        help: """
            A descriptor that gets the lines "listening HOST:PORT GUESTPORT" when a port is bound \
            and "ready HOST:PORT GUESTPORT" when the guest listens; unix:PATH for a Unix socket.
            """)
    var readyFd: Int32?

    func validate() throws {
        guard cid >= 3, cid < UInt64(UInt32.max) else {
            throw ValidationError("--cid takes a number from 3 to 4294967294")
        }
        guard bufferSize > 0 else { throw ValidationError("--buffer-size takes at least 1") }
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
        let service = try Service(cid: cid, bufferSize: bufferSize, announce: announce)
        for option in publish {
            try service.publish(option.address, guestPort: option.guestPort)
        }
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
