import Glibc
import ToroTesting
import VsockDevice

/// A program of the host that connects to a published port.
final class Client {
    private let file: Int32
    private var isOpen = true

    /// A client that has not connected yet. `receiveBuffer` is the bytes its host keeps for it at
    /// most; without it, what the system thinks right.
    init(isUnix: Bool = false, receiveBuffer: Int32? = nil) {
        file = socket(isUnix ? AF_UNIX : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard var size = receiveBuffer else { return }
        // SAFETY: the number outlives the call.
        _ = unsafe setsockopt(file, SOL_SOCKET, SO_RCVBUF, &size, 4)
    }

    /// A client that has connected there.
    convenience init(_ address: HostAddress, receiveBuffer: Int32? = nil) throws {
        if case .unix = address {
            self.init(isUnix: true, receiveBuffer: receiveBuffer)
        } else {
            self.init(receiveBuffer: receiveBuffer)
        }
        try connect(to: address)
    }

    convenience init(_ path: String) throws { try self.init(.unix(path: path)) }

    func connect(to address: HostAddress) throws {
        let result: Int32
        switch address {
        case .unix(let path):
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            // SAFETY: the tests' paths are shorter than the field, which is zeroed.
            unsafe withUnsafeMutableBytes(of: &name.sun_path) {
                unsafe $0.copyBytes(from: Array(path.utf8))
            }
            result = connect(&name)
        case .tcp(let host, let port):
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            // SAFETY: the host is a C string for the call.
            name.sin_addr.s_addr = unsafe inet_addr(host)
            result = connect(&name)
        }
        guard result == 0 else { throw TestFailure("cannot connect to \(address)") }
        _ = fcntl(file, F_SETFL, O_NONBLOCK)
    }

    private func connect<Name>(_ name: inout Name) -> Int32 {
        // SAFETY: the structure is the length that the call is told.
        unsafe withUnsafeBytes(of: &name) { raw in
            guard let base = raw.baseAddress else { return -1 }
            return unsafe Glibc.connect(
                file, base.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
        }
    }

    deinit { leave() }

    func leave() {
        if isOpen { close(file) }
        isOpen = false
    }

    /// Breaks off: its host sends RST.
    func abort() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        // SAFETY: the structure outlives the call.
        _ = unsafe setsockopt(
            file, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
        leave()
    }

    /// Sends no more.
    func finish() { _ = shutdown(file, Int32(SHUT_WR)) }

    /// Sends what the socket takes; how many bytes that were.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        // SAFETY: the array is as long as the call is told.
        unsafe max(0, Glibc.send(file, bytes, bytes.count, Int32(MSG_NOSIGNAL)))
    }

    enum Received: Equatable {
        case bytes([UInt8])
        case nothing
        /// The other side has sent all it had to send: FIN.
        case end
        /// The other side broke off: RST. A Unix socket cannot tell, unless bytes were unread.
        case reset
    }

    /// What has arrived.
    func receive(limit: Int = 1 << 16) -> Received {
        var bytes = [UInt8](repeating: 0, count: limit)
        // SAFETY: the array is as long as the call is told.
        let count = unsafe recv(file, &bytes, limit, Int32(MSG_DONTWAIT))
        if count > 0 { return .bytes(Array(bytes.prefix(count))) }
        if count == 0 { return .end }
        return errno == EAGAIN ? .nothing : .reset
    }

    /// What arrives next. A program that another test is starting at this moment has a copy of the
    /// device's end until its `exec`, so that an end is seen late.
    func next() -> Received {
        var wait = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
        // SAFETY: the structure outlives the call.
        _ = unsafe poll(&wait, 1, Int32(1_000 * Patience.seconds))
        return receive()
    }

    /// Whether the device has closed its end, in whatever way, and nothing is left to receive.
    func isAtEnd() -> Bool {
        let next = next()
        return next == .end || next == .reset
    }
}

/// A published port of its own, on loopback or at a Unix socket.
final class PublishedPort {
    static let guestPort: UInt32 = 80
    let address: HostAddress

    init(_ guest: Guest, isUnix: Bool = false, guestPort: UInt32 = guestPort) throws {
        let unique = UInt32.random(in: 0...UInt32.max)
        let wanted: HostAddress =
            isUnix
            ? .unix(path: "/tmp/toro-device-test-\(getpid())-\(unique)")
            : .tcp(host: "127.0.0.1", port: 0)
        let listener = try wanted.listen()
        address = listener.address
        guest.publish(listener, guestPort: guestPort)
    }
}
