import Glibc

/// What a client could not do, in words.
public struct ClientError: Error, CustomStringConvertible, Equatable {
    /// What went wrong.
    public let description: String

    /// An error with that text.
    public init(_ description: String) { self.description = description }
}

/// A client's TCP connection to a port of this host. Each call waits for at most its time limit,
/// and tells the peer's end from a reset.
public final class ClientSocket {
    /// The seconds that a call waits unless it is told otherwise: a busy machine takes its time.
    public static let patience = 120.0

    /// What came from the peer.
    public enum Received: Equatable, Sendable {
        /// So many bytes.
        case bytes(Int)
        /// The peer sends no more (FIN).
        case end
        /// The peer broke the connection off (RST).
        case reset
        /// Nothing within the time.
        case nothing
    }

    /// The socket's descriptor, non-blocking; -1 once it is closed.
    public private(set) var file: Int32

    /// Connects to a port of a loopback address, 127.0.0.1 or another in its network.
    public init(port: UInt16, address last: UInt8 = 1) throws(ClientError) {
        file = socket(
            AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard file >= 0 else { throw ClientError("no socket: \(reason(errno))") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = (UInt32(0x7f00_0000) | UInt32(last)).bigEndian
        // SAFETY: the structure outlives the call, which is told its size.
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            let code = errno
            Glibc.close(file)
            throw ClientError("cannot connect to port \(port): \(reason(code))")
        }
        _ = fcntl(file, F_SETFL, O_NONBLOCK)
        var one: Int32 = 1
        // SAFETY: the number outlives the call.
        _ = unsafe setsockopt(file, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
    }

    deinit { close() }

    /// Sends all bytes; false if the peer does not take them within `limit` seconds, or is gone.
    public func send(_ bytes: [UInt8], limit: Double = patience) -> Bool {
        var sent = 0
        while sent < bytes.count {
            // SAFETY: the pointer and the length stay within the array.
            let count = unsafe bytes.withUnsafeBytes { raw in
                unsafe Glibc.send(
                    file, raw.baseAddress.map { unsafe $0 + sent }, raw.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            if count > 0 {
                sent += count
            } else if errno == EAGAIN {
                guard wait(for: POLLOUT, limit: limit) else { return false }
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    /// Sends text.
    public func send(_ text: String, limit: Double = patience) -> Bool {
        send(Array(text.utf8), limit: limit)
    }

    /// Receives into the front of `buffer` what is there, waiting up to `limit` seconds for it.
    public func receive(into buffer: inout [UInt8], limit: Double = patience) -> Received {
        while true {
            // SAFETY: the pointer and the length are the array's.
            let count = unsafe buffer.withUnsafeMutableBytes { raw in
                unsafe recv(file, raw.baseAddress, raw.count, 0)
            }
            if count > 0 { return .bytes(count) }
            if count == 0 { return .end }
            switch errno {
            case EINTR: continue
            case EAGAIN: guard wait(for: POLLIN, limit: limit) else { return .nothing }
            default: return .reset
            }
        }
    }

    /// All that comes until the peer's end, a reset or `limit` seconds without a byte.
    public func receiveAll(limit: Double = patience) -> (bytes: [UInt8], last: Received) {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let received = receive(into: &buffer, limit: limit)
            guard case .bytes(let count) = received else { return (bytes, received) }
            bytes += buffer[..<count]
        }
    }

    /// Sends no more (FIN); the other direction stays.
    public func finish() { _ = shutdown(file, Int32(SHUT_WR)) }

    /// Ends both directions. What has come and was not read makes the system send RST.
    public func close() {
        guard file >= 0 else { return }
        Glibc.close(file)
        file = -1
    }

    /// Breaks the connection off (RST).
    public func reset() {
        var limit = linger(l_onoff: 1, l_linger: 0)
        // SAFETY: the structure outlives the call, which is told its size.
        _ = unsafe setsockopt(
            file, SOL_SOCKET, SO_LINGER, &limit, socklen_t(MemoryLayout<linger>.size))
        close()
    }

    private func wait(for event: Int32, limit: Double) -> Bool {
        var wait = pollfd(fd: file, events: Int16(event), revents: 0)
        // SAFETY: one structure, which outlives the call.
        return unsafe poll(&wait, 1, Int32(limit * 1000)) > 0
    }
}

/// What an errno means.
private func reason(_ code: Int32) -> String {
    // SAFETY: strerror returns a C string, which is copied at once.
    unsafe String(cString: strerror(code))
}
