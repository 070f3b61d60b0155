import CHostShims
import Glibc
import VhostUser

/// A listening socket of the host. Its end takes the name of a Unix socket away with it.
public final class HostListener {
    /// The socket; -1 once it is closed.
    public private(set) var file: Int32
    /// Where it listens: with the port it got, if any was asked for.
    public let address: HostAddress
    private let name: SocketName?

    init(_ file: Int32, _ address: HostAddress, name: SocketName?) {
        self.file = file
        self.address = address
        self.name = name
    }

    /// A socket that was inherited and listens there already, for other processes too; nil if it
    /// is none.
    public convenience init?(inherited file: Int32, _ address: HostAddress) {
        var isListening: Int32 = 0
        var length = socklen_t(MemoryLayout.size(ofValue: isListening))
        // SAFETY: both numbers outlive the call.
        let result = unsafe getsockopt(file, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length)
        guard result == 0, isListening != 0, fcntl(file, F_SETFL, O_NONBLOCK) == 0,
            fcntl(file, F_SETFD, FD_CLOEXEC) == 0
        else { return nil }
        self.init(file, address, name: nil)
    }

    deinit { close() }

    /// Whether a client waits to be accepted.
    var isAwaited: Bool { toro_is_unread(file) != 0 }

    /// Stops listening: clients that wait are reset.
    public func close() {
        guard file >= 0 else { return }
        name?.remove()
        _ = Glibc.close(file)
        file = -1
    }
}

/// Where clients of the host connect.
public enum HostAddress: Equatable, Sendable, CustomStringConvertible {
    /// A TCP port of an address; 0 is any free port.
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

    /// A non-blocking listener there.
    public func listen() throws(HostError) -> HostListener {
        switch self {
        case .tcp(let host, let port):
            let (file, bound) = try HostAddress.listen(host, port, name: description)
            return HostListener(file, .tcp(host: host, port: bound), name: nil)
        case .unix(let path):
            let (file, name) = try SocketName.listen(path)
            return HostListener(file, self, name: name)
        }
    }

    private static func listen(
        _ host: String, _ port: UInt16, name: String
    ) throws(HostError) -> (file: Int32, port: UInt16) {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        // SAFETY: the result is freed below, and not used after.
        let status = unsafe getaddrinfo(host, String(port), &hints, &found)
        guard status == 0, let info = unsafe found else {
            // SAFETY: gai_strerror returns a C string, which is copied at once.
            let reason = unsafe String(cString: gai_strerror(status))
            throw HostError("\(host) is no address: \(reason)")
        }
        defer { unsafe freeaddrinfo(found) }
        let flags = Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let file = unsafe socket(info.pointee.ai_family, info.pointee.ai_socktype | flags, 0)
        guard file >= 0 else { throw .system("cannot make a socket for \(name)") }
        var one: Int32 = 1
        // SAFETY: the number outlives the call.
        _ = unsafe setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        // SAFETY: address and length are getaddrinfo's.
        guard unsafe bind(file, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0,
            Glibc.listen(file, 4096) == 0
        else {
            let error: HostError =
                errno == EADDRINUSE
                ? HostError("\(name) is in use: choose another port")
                : .system("cannot listen on \(name)")
            close(file)
            throw error
        }
        return (file, localPort(file) ?? port)
    }

    private static func localPort(_ file: Int32) -> UInt16? {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout.size(ofValue: address))
        // SAFETY: the structure is the length that the call is told.
        return unsafe withUnsafeMutableBytes(of: &address) { raw -> UInt16? in
            guard let base = unsafe raw.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                unsafe getsockname(file, base, &length) == 0
            else { return nil }
            // The port is the second field, in network order, of IPv4's and IPv6's addresses.
            return unsafe UInt16(raw[2]) << 8 | UInt16(raw[3])
        }
    }
}
