import CHostShims
import Glibc
import VhostUser

/// What listens on the host for one port of a guest: a socket for each address that its name has.
/// Its end takes the name of a Unix socket away with it.
public final class HostListener {
    /// The sockets; none once they are closed.
    public private(set) var files: [Int32]
    /// Where it listens: with the port it got, if any was asked for.
    public let address: HostAddress
    private let name: SocketName?
    /// The socket whose client is accepted next, so that each has its turn.
    private var turn = 0

    init(_ files: [Int32], _ address: HostAddress, name: SocketName?) {
        self.files = files
        self.address = address
        self.name = name
    }

    /// Sockets that were inherited and listen there already, for other processes too; nil if one of
    /// them is none.
    public convenience init?(inherited files: [Int32], _ address: HostAddress) {
        for file in files {
            var isListening: Int32 = 0
            var length = socklen_t(MemoryLayout.size(ofValue: isListening))
            // SAFETY: both numbers outlive the call.
            let result = unsafe getsockopt(file, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length)
            guard result == 0, isListening != 0, fcntl(file, F_SETFL, O_NONBLOCK) == 0,
                fcntl(file, F_SETFD, FD_CLOEXEC) == 0
            else { return nil }
        }
        self.init(files, address, name: nil)
    }

    deinit { close() }

    /// Whether a client waits to be accepted.
    var isAwaited: Bool { files.contains { toro_is_unread($0) != 0 } }

    /// A non-blocking, close-on-exec socket of a client that waits; -1 with `errno` set, `EAGAIN` if
    /// none waits.
    func accept() -> Int32 {
        errno = EAGAIN
        for _ in files {
            turn = (turn + 1) % files.count
            let file = toro_accept(files[turn])
            if file >= 0 || errno != EAGAIN { return file }
        }
        return -1
    }

    /// Stops listening: clients that wait are reset.
    public func close() {
        guard !files.isEmpty else { return }
        name?.remove()
        for file in files { _ = Glibc.close(file) }
        files.removeAll()
    }
}

/// Where clients of the host connect.
public enum HostAddress: Equatable, Sendable, CustomStringConvertible {
    /// A TCP port of all addresses of a host; 0 is any free port.
    case tcp(host: String, port: UInt16)
    /// A Unix socket.
    case unix(path: String)

    /// The address as the options spell it.
    public var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }

    /// A non-blocking listener there. Of several addresses that a name has, those are left out that
    /// this host has not, if there is one that it has.
    public func listen() throws(HostError) -> HostListener {
        switch self {
        case .tcp(let host, let port):
            let addresses = try SocketAddress.all(of: host)
            let (files, bound) = try SocketAddress.listen(addresses, port, name: description)
            return HostListener(files, .tcp(host: host, port: bound), name: nil)
        case .unix(let path):
            let (file, name) = try SocketName.listen(path)
            return HostListener([file], self, name: name)
        }
    }
}
