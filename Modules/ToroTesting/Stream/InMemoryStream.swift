public import ToroCore

/// One end of a connection that exists in memory only.
///
///     let (client, server) = InMemoryStream.pair()
///     server.bytesPerReceive = 1      // dribble
///     client.window = 100             // the server can send 100 bytes until the client reads
///     client.reset()                  // the line breaks
///
/// A closed end drops what still comes, up to `lingerBytes`, and then breaks the connection off.
@Core public final class InMemoryStream: ByteStream {
    /// The most bytes that one `receive` on this end delivers.
    public var bytesPerReceive = 65_536
    /// The most bytes that may be on their way to this end; its peer's `send` waits for room.
    public var window = 65_536 {
        didSet { peer?.sender.wake() }
    }
    /// The number of bytes that this end has sent.
    public private(set) var sentBytes: UInt64 = 0
    /// The number of sends on this end, both kinds.
    public private(set) var sends = 0
    /// Whether `close` or `abort` was called on this end.
    public private(set) var isClosed = false
    /// Whether `abort` was called on this end.
    public private(set) var isAborted = false
    /// The most bytes that a closed end drops before it breaks the connection off.
    public var lingerBytes = 64 << 20

    private var peer: InMemoryStream?
    private var incoming: [UInt8] = []
    private var consumed = 0
    private var peerHasFinished = false
    private var hasFinished = false
    /// Whether the connection was broken off, by an `abort` of the peer or by the line.
    public private(set) var wasReset = false
    /// The bytes sent that the peer has taken.
    private var takenBytes: UInt64 = 0
    private let receiver = WaitPoint()
    private let sender = WaitPoint()

    private init() {}

    /// Both ends of a new connection.
    public static func pair() -> (InMemoryStream, InMemoryStream) {
        let (one, other) = (InMemoryStream(), InMemoryStream())
        one.peer = other
        other.peer = one
        return (one, other)
    }

    /// The bytes that have arrived and were not received.
    public var pendingBytes: Int { incoming.count - consumed }

    /// The next bytes; see ``ToroCore/ByteStream``.
    public func receive() async throws(StreamError) -> IOBuffer? {
        while true {
            if isClosed { throw .closed }
            if pendingBytes > 0 { return try take() }
            if wasReset { throw .reset }
            if peerHasFinished { return nil }
            if Task.isCancelled { throw .cancelled }
            await receiver.wait()
        }
    }

    private func take() throws(StreamError) -> IOBuffer {
        let count = min(pendingBytes, max(bytesPerReceive, 1))
        guard var buffer = try? IOBuffer(capacity: count) else { throw .outOfMemory }
        for index in consumed..<consumed + count { buffer.append(incoming[index]) }
        consumed += count
        if pendingBytes == 0 {
            incoming.removeAll(keepingCapacity: true)
            consumed = 0
        }
        peer?.wasTaken(count)
        return buffer
    }

    /// Sends the bytes of `buffer`; see ``ToroCore/ByteStream``.
    public func send(_ buffer: consuming IOBuffer) async -> Completed<StreamError> {
        await send(nil, buffer)
    }

    /// Sends both buffers; see ``ToroCore/ByteStream``.
    public func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async -> Completed<StreamError> {
        sends += 1
        guard let head else { return await deliver(body, alreadySent: 0) }
        let done = await deliver(head, alreadySent: 0)
        if case .failure(let error) = done.result { return Completed(body, .failure(error)) }
        var count = 0
        if case .success(let sent) = done.result { count = sent }
        return await deliver(body, alreadySent: count)
    }

    private func deliver(
        _ buffer: consuming IOBuffer, alreadySent: Int
    ) async -> Completed<StreamError> {
        var sent = alreadySent
        while true {
            if isClosed || hasFinished { return Completed(buffer, .failure(.closed)) }
            guard !wasReset, let peer else { return Completed(buffer, .failure(.reset)) }
            if buffer.isEmpty {
                buffer.removeAll()
                return Completed(buffer, .success(sent))
            }
            if Task.isCancelled { return Completed(buffer, .failure(.cancelled)) }
            let count = min(buffer.count, peer.window - peer.pendingBytes)
            if count > 0 {
                sentBytes += UInt64(count)
                peer.accept(buffer.bytes.extracting(0..<count))
                buffer.removeFirst(count)
                sent += count
            } else {
                await sender.wait()
            }
        }
    }

    private func wasTaken(_ count: Int) {
        takenBytes += UInt64(count)
        sender.wake()
    }

    private func accept(_ bytes: RawSpan) {
        if isClosed { return drop(bytes.byteCount) }
        for index in 0..<bytes.byteCount {
            // SAFETY: index is within the span, and every byte is a UInt8.
            incoming.append(unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self))
        }
        receiver.wake()
    }

    private func drop(_ count: Int) {
        lingerBytes -= count
        if lingerBytes < 0 { breakOff() } else { peer?.wasTaken(count) }
    }

    /// Sends these bytes at once, past the window and without waiting; for tests that are the
    /// client. Nothing happens on a connection that is over.
    public func inject(_ bytes: [UInt8]) {
        guard !isClosed, !hasFinished, !wasReset, let peer else { return }
        sentBytes += UInt64(bytes.count)
        if peer.isClosed { return peer.drop(bytes.count) }
        peer.incoming.append(contentsOf: bytes)
        peer.receiver.wake()
    }

    /// Takes all bytes that have arrived, without waiting; for tests that are the client.
    public func takeAll() -> [UInt8] {
        let bytes = Array(incoming[consumed...])
        incoming.removeAll()
        consumed = 0
        peer?.wasTaken(bytes.count)
        return bytes
    }

    /// Whether the peer has finished sending, or has closed; the bytes before that may still be
    /// pending.
    public var isAtEnd: Bool { peerHasFinished || wasReset }

    /// Tells the peer that no byte follows; see ``ToroCore/ByteStream``.
    public func finish() async throws(StreamError) {
        if isClosed { throw .closed }
        if wasReset { throw .reset }
        endSending()
    }

    /// As `finish`, for tests that are the client.
    public func endSending() {
        hasFinished = true
        peer?.peerHasFinished = true
        peer?.receiver.wake()
    }

    /// Closes the stream in order; see ``ToroCore/ByteStream``.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        let unread = pendingBytes
        incoming.removeAll()
        consumed = 0
        endSending()
        receiver.wake()
        sender.wake()
        drop(unread)
    }

    /// Breaks the connection off; see ``ToroCore/ByteStream``. What has arrived at the peer can still
    /// be received there, as with TCP.
    public func abort() {
        guard !isAborted else { return }
        isAborted = true
        isClosed = true
        breakOff()
    }

    /// How far the bytes have come: to the peer's `receive`; see ``ToroCore/ByteStream``.
    public var progress: StreamProgress {
        StreamProgress(accepted: sentBytes, acknowledged: takenBytes)
    }

    /// Breaks the line: both ends fail with `.reset`, bytes on their way are lost.
    public func reset() {
        for end in [self, peer] {
            end?.incoming.removeAll()
            end?.consumed = 0
        }
        breakOff()
    }

    private func breakOff() {
        for end in [self, peer] {
            end?.wasReset = true
            end?.receiver.wake()
            end?.sender.wake()
        }
        peer = nil
    }
}
