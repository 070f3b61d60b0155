import VhostUser
import VsockDevice

/// A published port whose sockets listen. Guests that take turns share them, so that a client who
/// comes between two of them waits for the next.
public struct ListeningPort: Sendable {
    /// The port, with the number that the host gave it if any was asked for.
    public private(set) var port: PublishedPort
    private let socket: Socket

    // SAFETY (@unchecked): nobody changes the listener but its deinit.
    private final class Socket: @unchecked Sendable {
        let listener: HostListener

        init(_ listener: HostListener) { self.listener = listener }
    }

    /// Listens at the host's side of `port`.
    public init(_ port: PublishedPort) throws(LaunchError) {
        // In brackets or not: the colons of an IPv6 address are its own.
        let host = port.host.filter { !"[]".contains($0) }
        do {
            let listener = try HostAddress.tcp(host: host, port: port.port).listen()
            socket = Socket(listener)
            self.port = port
            if case .tcp(_, let number) = listener.address { self.port.port = number }
        } catch let error {
            throw LaunchError("cannot publish \(port): \(error.description)")
        }
    }

    /// The same sockets for another port of the guest.
    func leading(to guestPort: UInt32) -> ListeningPort {
        var other = self
        other.port.guestPort = guestPort
        return other
    }

    /// The descriptors that listen, one for each address that the host's name has.
    var files: [Int32] { socket.listener.files }

    /// What the vsock device is told.
    var option: String { "fd:\(files.map(String.init).joined(separator: ",")):\(port)" }
}
