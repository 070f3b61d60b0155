import Glibc
import VsockDevice

/// A program of the host that connects to a published port.
final class Client {
    private let file: Int32

    /// A client that has not connected yet.
    init() { file = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0) }

    convenience init(_ path: String) throws {
        self.init()
        try connect(to: path)
    }

    func connect(to path: String) throws {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: the tests' paths are shorter than the field, which is zeroed.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) {
            unsafe $0.copyBytes(from: Array(path.utf8))
        }
        // SAFETY: the structure is the length that the call is told.
        let result = unsafe withUnsafeBytes(of: &address) { raw in
            guard let base = raw.baseAddress else { return Int32(-1) }
            return unsafe Glibc.connect(
                file, base.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
        }
        guard result == 0 else { throw TestFailure("cannot connect to \(path)") }
    }

    deinit { leave() }

    private var isOpen = true

    func leave() {
        if isOpen { close(file) }
        isOpen = false
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
        case end
    }

    /// What has arrived. A reset counts as the end.
    func receive(limit: Int = 1 << 16) -> Received {
        var bytes = [UInt8](repeating: 0, count: limit)
        // SAFETY: the array is as long as the call is told.
        let count = unsafe recv(file, &bytes, limit, Int32(MSG_DONTWAIT))
        if count > 0 { return .bytes(Array(bytes.prefix(count))) }
        return count < 0 && errno == EAGAIN ? .nothing : .end
    }

    /// Whether the device has closed its end, and nothing is left to receive. A program that
    /// another test is starting at this moment has a copy of that end until its `exec`: there is
    /// up to two seconds' time for it.
    func isAtEnd() -> Bool {
        var wait = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
        // SAFETY: the structure outlives the call.
        _ = unsafe poll(&wait, 1, 2_000)
        return receive() == .end
    }
}

/// A published port at a Unix socket of its own.
final class PublishedPort {
    static let guestPort: UInt32 = 80
    let path: String

    init(_ guest: Guest) throws {
        let unique = UInt32.random(in: 0...UInt32.max)
        path = "/tmp/toro-device-test-\(getpid())-\(unique)"
        try guest.publish(
            HostAddress.unix(path: path).listen(), guestPort: PublishedPort.guestPort)
    }

}
