#if !hasFeature(Embedded)
import CToroHost
import Glibc
public import ToroCore
import ToroProcess

/// A TCP connection.
@Core public final class HostStream: ByteStream {
    /// The most bytes that one `receive` delivers.
    private static let receiveSize = 16 << 10
    let readiness: HostReadiness
    var isClosed = false
    var isFinished = false
    /// The system tells of a reset once; afterwards a receive would look like the peer's end.
    var wasReset = false
    /// The bytes that the system has taken, and those that had left when the socket was closed.
    var accepted: UInt64 = 0
    var acknowledged: UInt64 = 0
    /// What it waits for once it is closed.
    var linger = HostLinger()

    init(_ file: Int32) { readiness = HostReadiness(file) }

    /// The next bytes; see ``ToroCore/ByteStream``.
    public func receive() async throws(StreamError) -> IOBuffer? {
        var buffer = try newBuffer()
        while true {
            if isClosed { throw .closed }
            if wasReset { throw .reset }
            // SAFETY: the buffer has that much room, and outlives the call.
            let count = unsafe recv(
                readiness.file, buffer.unsafePointer, HostStream.receiveSize, Int32(MSG_DONTWAIT))
            if count > 0 {
                buffer.didFill(count)
                return buffer
            }
            if count == 0 { return nil }
            guard errno == EAGAIN || errno == ENOTCONN || errno == EINTR else {
                wasReset = true
                throw .reset
            }
            guard await readiness.wait() else { throw .cancelled }
        }
    }

    private func newBuffer() throws(StreamError) -> IOBuffer {
        do throws(OutOfMemory) {
            return try IOBuffer(capacity: HostStream.receiveSize)
        } catch {
            throw .outOfMemory
        }
    }

    /// Sends the bytes of `buffer`; see ``ToroCore/ByteStream``.
    public func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError> {
        await send(nil, buffer)
    }

    /// Sends both buffers; see ``ToroCore/ByteStream``.
    public func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async -> Completed<StreamError> {
        var first = IOBuffer()
        if let head { first = head }
        var sent = 0
        while !(first.isEmpty && body.isEmpty) {
            if isClosed || isFinished { return Completed(body, .failure(.closed)) }
            // SAFETY: both buffers have that many bytes, and outlive the call.
            let count = unsafe toro_host_send(
                readiness.file, first.unsafePointer, first.count, body.unsafePointer, body.count)
            if let error = await after(count) { return Completed(body, .failure(error)) }
            guard count > 0 else { continue }
            let ofFirst = min(Int(count), first.count)
            first.removeFirst(ofFirst)
            body.removeFirst(Int(count) - ofFirst)
            sent += Int(count)
            accepted += UInt64(count)
        }
        body.removeAll()
        return Completed(body, .success(sent))
    }

    /// Waits if there was no room; the error if sending has no future.
    private func after(_ result: Int64) async -> StreamError? {
        switch -result {
        case Int64(EAGAIN), Int64(ENOTCONN): return await readiness.wait() ? nil : .cancelled
        case Int64(EINTR): return nil
        default:
            if result < 0 { wasReset = true }
            return result < 0 ? .reset : nil
        }
    }

    /// Tells the peer that no byte follows; see ``ToroCore/ByteStream``.
    public func finish() async throws(StreamError) {
        if isClosed { throw .closed }
        guard !isFinished else { return }
        isFinished = true
        guard shutdown(readiness.file, Int32(SHUT_WR)) == 0 else { throw .reset }
    }

    deinit {
        Core.assumeIsolated { [readiness] in readiness.close() }
    }
}

/// A TCP port that takes connections.
@Core public final class HostListener: Listener {
    /// The port's number, also if any was asked for.
    public let port: UInt16
    private let readiness: HostReadiness
    private var isClosed = false

    /// Listens on a TCP port, 0 for any; on loopback unless a host is named.
    public init(
        host: String = "127.0.0.1", port: UInt16, backlog: Int = 1024
    ) throws(ListenError) {
        _ = HostCore.shared
        var bound: UInt16 = 0
        // SAFETY: the name is a C string for the call, which the number outlives.
        let file = unsafe toro_host_listen(host, port, Int32(clamping: backlog), &bound)
        guard file != -EADDRINUSE else { throw .portInUse(UInt32(port)) }
        guard file >= 0 else { throw .failed(code: -file) }
        self.port = bound
        readiness = HostReadiness(file)
    }

    /// The next connection; see ``ToroCore/Listener``.
    public func accept() async throws(ListenError) -> HostStream {
        while true {
            if isClosed { throw .closed }
            let file = toro_host_accept(readiness.file)
            if file >= 0 { return HostStream(file) }
            switch -file {
            case EAGAIN: guard await readiness.wait() else { throw .cancelled }
            case ECONNABORTED, EINTR: continue
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                if HostCore.shared.hurry() { continue }
                // The client waits in the backlog, and nothing tells when there is room again.
                do throws(Cancelled) {
                    try await ToroProcess.sleep(for: .milliseconds(100), clock: HostCore.shared)
                } catch {
                    throw .cancelled
                }
            default: throw .failed(code: -file)
            }
        }
    }

    /// Stops listening; see ``ToroCore/Listener``.
    public func close() {
        isClosed = true
        readiness.close()
    }
}
#endif
