/// A port of the host whose connections go to a port of the guest.
public struct PublishedPort: Equatable, Sendable, CustomStringConvertible {
    /// The address the host listens on; loopback unless named.
    public var host: String
    /// The host's TCP port; 0 for any.
    public var port: UInt16
    /// The guest's vsock port.
    public var guestPort: UInt32

    /// Parses [HOST:]PORT:GUESTPORT.
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
}
