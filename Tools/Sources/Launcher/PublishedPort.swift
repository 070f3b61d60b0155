/// What clients of published ports may take, as `toro-vsock-device` is told; nil is its own choice.
public struct PortLimits: Sendable {
    /// The bytes kept for each client at most.
    public var bufferSize: UInt64?
    /// The bytes kept for all clients together at most.
    public var memoryBudget: UInt64?
    /// The clients that are connected at most.
    public var connections: UInt64?
    /// The seconds that a client may take nothing of what the guest has left for it.
    public var stallTime: UInt64?
    /// The seconds that the guest may take to listen on a published port.
    public var readyTime: UInt64?

    /// The device's own choice of everything.
    public init() {}

    var options: [String] {
        let values = [
            ("--buffer-size", bufferSize), ("--memory-budget", memoryBudget),
            ("--connections", connections), ("--stall-time", stallTime),
            ("--ready-time", readyTime),
        ]
        return values.flatMap { name, value in value.map { [name, String($0)] } ?? [] }
    }
}

/// A port of the host whose connections go to a port of the guest.
public struct PublishedPort: Equatable, Sendable, CustomStringConvertible {
    /// The address the host listens on; loopback unless named.
    public var host: String
    /// The host's TCP port; 0 for any.
    public var port: UInt16
    /// The guest's vsock port.
    public var guestPort: UInt32

    /// A port of loopback.
    public init(port: UInt16, guestPort: UInt32) {
        host = "127.0.0.1"
        self.port = port
        self.guestPort = guestPort
    }

    /// Parses [HOST:]PORT:GUESTPORT; an IPv6 host stands in brackets.
    public init(parsing text: String) throws(LaunchError) {
        let words = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard words.count >= 2, let port = UInt16(words[words.count - 2]),
            let guestPort = UInt32(words[words.count - 1])
        else { throw .usage("--publish takes [HOST:]PORT:GUESTPORT, not \(text)") }
        host = words.count == 2 ? "127.0.0.1" : words.dropLast(2).joined(separator: ":")
        self.port = port
        self.guestPort = guestPort
    }

    /// HOST:PORT:GUESTPORT.
    public var description: String { "\(host):\(port):\(guestPort)" }

    /// What a client of this host writes: HOST:PORT, loopback for a host that stands for all.
    public var address: String {
        // An IPv6 address may have been given without its brackets.
        let written = host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host
        let name = ["0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "[::]": "[::1]"][written] ?? written
        return "\(name):\(port)"
    }
}
