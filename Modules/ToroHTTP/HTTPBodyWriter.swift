public import ToroCore

/// Takes the body of a response while it is produced.
@Core public final class HTTPBodyWriter {
    /// How the peer finds the end.
    enum Framing {
        /// So many bytes are still owed.
        case length(UInt64)
        /// In chunks.
        case chunked
        /// By the end of the connection, for HTTP/1.0.
        case connection
    }

    private let connection: HTTPConnection
    private var head: IOBuffer?
    private var framing: Framing
    /// Whether the line break behind the last chunk's data is still to be sent.
    private var owesLineBreak = false

    init(_ connection: HTTPConnection, head: consuming IOBuffer, _ framing: Framing) {
        self.connection = connection
        self.head = consume head
        self.framing = framing
    }

    /// Sends the bytes of `buffer`, without copying them, and gives it back, empty. Waits until
    /// the connection has taken them. The first bytes go out together with the response's head.
    ///
    /// Throws `.incompleteBody` for more bytes than were announced.
    public func write(_ buffer: consuming IOBuffer) async throws(HTTPError) -> IOBuffer {
        let count = buffer.count
        guard count > 0 else { return buffer }
        switch framing {
        case .length(let owed):
            guard UInt64(count) <= owed else { throw .incompleteBody }
            framing = .length(owed - UInt64(count))
            return try await send(head.take(), buffer)
        case .connection: return try await send(head.take(), buffer)
        case .chunked:
            let prefix = ByteWriter(capacity: 24)
            if owesLineBreak { prefix.append("\r\n") }
            prefix.append(hexadecimal: UInt64(count))
            prefix.append("\r\n")
            guard let line = prefix.take() else { throw .outOfMemory }
            // The chunk's own line break goes along where there is room for it.
            owesLineBreak = buffer.freeCapacity < 2
            if !owesLineBreak { buffer.append("\r\n") }
            return try await send(try join(line), buffer)
        }
    }

    /// Sends a constant text.
    public func write(_ text: StaticString) async throws(HTTPError) {
        let writer = ByteWriter(capacity: text.byteCount + 2)
        writer.append(text)
        try await write(writer)
    }

    /// Sends a copy of `bytes`.
    public func write(_ bytes: [UInt8]) async throws(HTTPError) {
        let writer = ByteWriter(capacity: bytes.count + 2)
        writer.append(bytes)
        try await write(writer)
    }

    /// Sends what was written.
    func write(_ writer: ByteWriter) async throws(HTTPError) {
        guard let buffer = writer.take() else { throw .outOfMemory }
        _ = try await write(buffer)
    }

    /// Ends the body. Throws `.incompleteBody` if bytes are still owed.
    func end() async throws(HTTPError) {
        switch framing {
        case .length(let owed): guard owed == 0 else { throw .incompleteBody }
        case .connection: break
        case .chunked:
            let last = ByteWriter(capacity: 8)
            last.append(owesLineBreak ? "\r\n0\r\n\r\n" : "0\r\n\r\n")
            guard let line = last.take() else { throw .outOfMemory }
            _ = try await send(head.take(), line)
        }
        if let head = head.take() { _ = try await send(nil, head) }
    }

    /// The response's head, if it is still here, with a chunk's first line behind it.
    private func join(_ line: consuming IOBuffer) throws(HTTPError) -> IOBuffer {
        guard let head = head.take() else { return line }
        return try HTTPBodyWriter.joined(head, line)
    }

    private static func joined(
        _ first: borrowing IOBuffer, _ second: borrowing IOBuffer
    ) throws(HTTPError) -> IOBuffer {
        do throws(OutOfMemory) {
            var both = try IOBuffer(capacity: first.count + second.count)
            both.append(first.bytes)
            both.append(second.bytes)
            return both
        } catch {
            throw .outOfMemory
        }
    }

    private func send(
        _ head: consuming IOBuffer?, _ body: consuming IOBuffer
    ) async throws(HTTPError) -> IOBuffer {
        try await connection.send(head, body)
    }
}
