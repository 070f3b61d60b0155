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
        if buffer.isEmpty { return buffer }
        try frame(&buffer)
        return try await connection.send(head.take(), buffer)
    }

    /// Counts a piece of the body; a chunk's first line goes behind the head, or in its place.
    private func frame(_ buffer: inout IOBuffer) throws(HTTPError) {
        let count = UInt64(buffer.count)
        switch framing {
        case .length(let owed):
            guard count <= owed else { throw .incompleteBody }
            framing = .length(owed - count)
        case .connection: break
        case .chunked:
            let prefix = ByteWriter(capacity: 24)
            if owesLineBreak { prefix.append("\r\n") }
            prefix.append(hexadecimal: count)
            prefix.append("\r\n")
            guard let line = prefix.take() else { throw .outOfMemory }
            head = try join(line)
            // The chunk's own line break goes along where there is room for it.
            owesLineBreak = buffer.freeCapacity < 2
            if !owesLineBreak { buffer.append("\r\n") }
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

    /// Only the head is sent: the answer to HEAD, and a status that has no body.
    func omitBody() { framing = .connection }

    /// Ends the body. Throws `.incompleteBody` if bytes are still owed.
    func end() async throws(HTTPError) {
        try frameEnd()
        if let last = head.take() { _ = try await connection.send(nil, last) }
    }

    /// Makes `head` what is still to be sent.
    private func frameEnd() throws(HTTPError) {
        switch framing {
        case .length(let owed): guard owed == 0 else { throw .incompleteBody }
        case .connection: break
        case .chunked:
            let last = ByteWriter(capacity: 8)
            last.append(owesLineBreak ? "\r\n0\r\n\r\n" : "0\r\n\r\n")
            guard let line = last.take() else { throw .outOfMemory }
            head = try join(line)
        }
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
}
