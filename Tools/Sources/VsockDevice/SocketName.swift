import Glibc
import VhostUser

/// The name of a listening Unix socket in the file system, which outlives the socket.
struct SocketName {
    private let path: String
    private let device: dev_t
    private let inode: ino_t

    /// A non-blocking socket that listens there, for its user only. What a process left behind that
    /// ended without taking its name away is replaced; nothing else is.
    static func listen(_ path: String) throws(HostError) -> (file: Int32, name: SocketName) {
        var address = try SocketName.address(path)
        let file = try makeSocket()
        var result = bind(file, &address)
        if result != 0, errno == EADDRINUSE {
            guard isStale(path, &address) else {
                close(file)
                throw HostError("unix:\(path) is in use: choose another path")
            }
            // SAFETY: the path is a C string for the call.
            _ = unsafe unlink(path)
            result = bind(file, &address)
        }
        // Looked at before it listens: whoever can connect may take the name away at once.
        guard result == 0, let status = status(path), Glibc.listen(file, 4096) == 0 else {
            let error = HostError.system("cannot listen on \(path)")
            close(file)
            throw error
        }
        return (file, SocketName(path: path, device: status.st_dev, inode: status.st_ino))
    }

    /// Takes the name away, unless it is another socket's by now.
    func remove() {
        guard let status = SocketName.status(path), status.st_dev == device, status.st_ino == inode
        else { return }
        // SAFETY: the path is a C string for the call.
        _ = unsafe unlink(path)
    }

    private static func address(_ path: String) throws(HostError) -> sockaddr_un {
        var address = sockaddr_un()
        let bytes = Array(path.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard bytes.count < room, !bytes.contains(0) else {
            throw HostError("the socket path \(path) is longer than \(room - 1) bytes")
        }
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: the path is shorter than the field, which is zeroed.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        return address
    }

    private static func makeSocket() throws(HostError) -> Int32 {
        let flags = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        let file = socket(AF_UNIX, Int32(flags), 0)
        guard file >= 0 else { throw .system("cannot make a socket") }
        return file
    }

    private static func bind(_ file: Int32, _ address: inout sockaddr_un) -> Int32 {
        let mask = umask(0o077)
        defer { umask(mask) }
        // SAFETY: the call gets the structure with its length.
        return unsafe withAddress(&address) { unsafe Glibc.bind(file, $0, $1) }
    }

    /// Whether the name is that of a socket on which nobody listens: connections are refused.
    private static func isStale(_ path: String, _ address: inout sockaddr_un) -> Bool {
        guard let status = status(path), status.st_mode & S_IFMT == S_IFSOCK,
            let file = try? makeSocket()
        else { return false }
        defer { close(file) }
        // SAFETY: the call gets the structure with its length.
        let result = unsafe withAddress(&address) { unsafe connect(file, $0, $1) }
        return result != 0 && errno == ECONNREFUSED
    }

    private static func withAddress(
        _ address: inout sockaddr_un, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        // SAFETY: the structure is the length that the call is told.
        unsafe withUnsafeBytes(of: &address) { raw in
            guard let base = raw.baseAddress else { return -1 }
            return unsafe call(
                base.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count))
        }
    }

    private static func status(_ path: String) -> stat? {
        var status = stat()
        // SAFETY: the path is a C string, and the structure outlives the call.
        return unsafe lstat(path, &status) == 0 ? status : nil
    }
}
