/// Why a stream gave no byte or took none.
public enum StreamError: ToroError, Equatable {
    /// The peer broke the connection off (vsock `OP_RST`, TCP RST).
    case reset
    /// This side has closed the stream, or finished sending and then sent.
    case closed
    /// The task was cancelled.
    case cancelled
    /// No memory for a buffer or the connection's state.
    case outOfMemory
    /// The device below failed or broke its protocol and was shut down.
    case deviceFailed

    /// What was wrong and what to do.
    public var explanation: String {
        switch self {
        case .reset: "the peer reset the connection"
        case .closed: "the stream is closed on this side"
        case .cancelled: "the operation was cancelled"
        case .outOfMemory: "out of memory for a connection; give the guest more memory"
        case .deviceFailed: "the device below the connection failed; restart the guest"
        }
    }
}

/// A connection: bytes in order, both ways, each way ended on its own.
///
/// At most one task may be in `receive` and one in `send`/`finish` at a time; a second one is a
/// programming error and traps.
@Core public protocol ByteStream: AnyObject {
    /// The next bytes from the peer, in the buffer they arrived in, at least one; nil after the
    /// peer has finished sending. Waits for bytes. The buffer's memory goes back to the driver when
    /// the buffer's life ends, so do not keep many.
    func receive() async throws(StreamError) -> IOBuffer?

    /// Sends all bytes of `buffer` and gives it back, empty, with the number of bytes; waits
    /// until the device has taken them. After a failure an unknown part was sent.
    func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError>

    /// Sends all bytes of `head`, if there is one, and then of `body`, as one unit where the
    /// device can (one packet, one system call); gives the body's buffer back. The head's life
    /// ends.
    func send(_ head: consuming IOBuffer?, _ body: consuming IOBuffer) async
        -> Completed<StreamError>

    /// Tells the peer that no byte follows; receiving goes on. Waits for what was sent before.
    func finish() async throws(StreamError)

    /// Closes the stream in order; never waits.
    ///
    /// Everything that `send` has accepted reaches a peer that goes on reading, however slowly, and
    /// then the peer sees the end of the stream. What the peer still sends is read and dropped below
    /// this protocol, for up to 30 s and 64 MiB, so that it can read our last bytes. An operation
    /// under way ends with `.closed`, and so does every later one. A second call does nothing.
    func close()

    /// Breaks the connection off at once, also one that was closed and still lingers: what was not
    /// delivered is thrown away, and the peer sees a reset. An operation under way ends with
    /// `.closed`, and so does every later one. A second call does nothing.
    func abort()

    /// How far this side's bytes have come. Goes on counting after `close`, while the connection
    /// lingers. O(1).
    var progress: StreamProgress { get }
}

/// How far the bytes of a stream have come: two counts that run freely and never go back.
///
/// Time-outs are measured by these: a peer is slow while `acknowledged` grows and stalled when it
/// does not.
public struct StreamProgress: Equatable, Sendable {
    /// The bytes that `send` has accepted so far, also in a call that has not returned.
    public var accepted: UInt64
    /// The bytes of these that are known to have left towards the peer: no buffer of the guest or
    /// its host holds them any more. Never more than `accepted`.
    public var acknowledged: UInt64

    /// These counts.
    public init(accepted: UInt64, acknowledged: UInt64) {
        self.accepted = accepted
        self.acknowledged = acknowledged
    }

    /// Whether the peer has everything that was accepted.
    public var isComplete: Bool { accepted == acknowledged }
}

/// Why there is no next connection.
public enum ListenError: ToroError, Equatable {
    /// Another listener has the port.
    case portInUse(UInt32)
    /// The listener was closed.
    case closed
    /// The task was cancelled.
    case cancelled
    /// The device below failed or broke its protocol and was shut down.
    case deviceFailed
    /// The system's or device's refusal, with its error number where there is one.
    case failed(code: Int32)

    /// What was wrong and what to do.
    public var explanation: String {
        switch self {
        case .portInUse: "the port is in use by another listener; choose another port"
        case .closed: "the listener is closed"
        case .cancelled: "the operation was cancelled"
        case .deviceFailed: "the device below the port failed; restart the guest"
        case .failed(13): "permission denied; ports below 1024 are for root"
        case .failed(24): "too many files are open"
        case .failed: "the system refused to listen"
        }
    }
}

/// A port that takes connections.
@Core public protocol Listener {
    /// The connections it takes.
    associatedtype Stream: ByteStream

    /// The next connection; waits for one. Connections and their bytes that arrive earlier are
    /// kept, up to the backlog.
    func accept() async throws(ListenError) -> Stream

    /// Stops listening; connections not yet accepted are aborted. A second call does nothing.
    func close()
}
