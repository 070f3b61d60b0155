import VhostUser
import VsockDevice

/// A published port whose socket listens. Guests that take turns share it, so that a client who
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

    /// The same socket for another port of the guest.
    func leading(to guestPort: UInt32) -> ListeningPort {
        var other = self
        other.port.guestPort = guestPort
        return other
    }

    /// The descriptor that listens.
    var file: Int32 { socket.listener.file }

    /// What the vsock device is told.
    var option: String { "fd:\(file):\(port)" }
}
