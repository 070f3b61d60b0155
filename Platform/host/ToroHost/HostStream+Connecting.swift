#if !hasFeature(Embedded)
import CToroHost
import Glibc
public import ToroCore

/// Why there is no connection.
public enum ConnectError: ToroError, Equatable {
    /// Nobody listens on the port, or a filter says so (`ECONNREFUSED`).
    case refused
    /// The peer's host has not answered in the system's time, about two minutes (`ETIMEDOUT`).
    case timedOut
    /// There is no way to the host (`ENETUNREACH`, `EHOSTUNREACH` and the like).
    case unreachable
    /// No address is known for the host's name.
    case unknownHost
    /// This process, or the system, has as many files open as it may (`EMFILE`, `ENFILE`).
    case tooManyFiles
    /// The system has no memory for a socket.
    case outOfMemory
    /// The task was cancelled.
    case cancelled
    /// Another refusal of the system's, with its `errno`.
    case failed(code: Int32)

    /// What was wrong and what to do.
    public var explanation: String {
        switch self {
        case .refused: "the connection was refused; does the service run, and on this port?"
        case .timedOut: "the host did not answer; is it up, and reached from here?"
        case .unreachable: "there is no way to the host; look at the network"
        case .unknownHost: "the host's name is not known; is it spelt so?"
        case .tooManyFiles: "too many files are open; raise the limit (ulimit -n)"
        case .outOfMemory: "the system has no memory for a connection"
        case .cancelled: "the operation was cancelled"
        case .failed: "the system refused to connect"
        }
    }

    /// What `CToroHost` says: a negative errno, or -10000 and less for getaddrinfo's.
    init(_ result: Int32) {
        switch -result {
        case 10_000...: self = .unknownHost
        case ECONNREFUSED: self = .refused
        case ETIMEDOUT: self = .timedOut
        case ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN: self = .unreachable
        case EMFILE, ENFILE: self = .tooManyFiles
        case ENOMEM, ENOBUFS: self = .outOfMemory
        default: self = .failed(code: -result)
        }
    }
}

extension HostStream {
    /// Connects to a TCP port, loopback unless a host is named. Returns when the peer's system has
    /// answered; a name is looked up without a task switch.
    public static func connect(
        host: String = "127.0.0.1", port: UInt16
    ) async throws(ConnectError) -> HostStream {
        _ = HostCore.shared
        // SAFETY: the name is a C string for the call.
        let file = unsafe toro_host_connect(host, port)
        guard file >= 0 else { throw ConnectError(file) }
        let stream = HostStream(file)
        while true {
            let result = toro_host_connected(file)
            switch -result {
            case 0: return stream
            case ECONNRESET:
                // It was there, and the peer has broken it off since: who receives hears of it.
                stream.wasReset = true
                return stream
            case EINPROGRESS:
                if await stream.readiness.wait() { continue }
                stream.abort()
                throw .cancelled
            default:
                stream.abort()
                throw ConnectError(result)
            }
        }
    }
}
#endif
