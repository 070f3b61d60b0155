public import ToroCore

/// An answer: a status, header fields and a body.
///
///     HTTPResponse("hello\n")
///     HTTPResponse(type: "application/json", bytes: encoded)
///     HTTPResponse(type: "text/plain") { body in try await body.write("one ") … }
///
/// `Content-Length` or `Transfer-Encoding`, `Connection` and `Date` are the server's; do not add
/// them. A response to HEAD is made like one to GET; its body is not sent.
@Core public final class HTTPResponse {
    /// Writes a body; called once, when its head is to go out, and not for a HEAD.
    public typealias BodyProducer = @Core (HTTPBodyWriter) async throws(HTTPError) -> Void

    /// What follows the head.
    enum Body: ~Copyable {
        case none
        case buffer(IOBuffer)
        case produced(length: UInt64?, BodyProducer)
    }

    /// The outcome.
    public let status: HTTPStatus
    /// The status line and the header fields so far.
    let head: ByteWriter
    var body: Body
    /// Whether this is the connection's last response.
    var closes = false
    /// Whether what produces the body may read the request's on the way.
    var readsRequest = true

    /// A response without a body.
    @export(interface)
    public init(_ status: HTTPStatus) {
        self.status = status
        body = .none
        head = ByteWriter(capacity: 512)
        head.append("HTTP/1.1 ")
        status.emit(into: head)
        head.append("\r\n")
    }

    /// A response with the bytes in `body`, which go out without being copied.
    @export(interface)
    public convenience init(
        _ status: HTTPStatus = .ok, type: StaticString, body: consuming IOBuffer
    ) {
        self.init(status)
        add("Content-Type", type)
        self.body = .buffer(body)
    }

    /// A response with a copy of `bytes`.
    @export(interface)
    public convenience init(_ status: HTTPStatus = .ok, type: StaticString, bytes: [UInt8]) {
        self.init(status)
        let writer = ByteWriter(capacity: bytes.count)
        writer.append(bytes)
        set(writer, type)
    }

    /// A response with a constant text.
    @export(interface)
    public convenience init(_ text: StaticString, status: HTTPStatus = .ok) {
        self.init(status)
        let writer = ByteWriter(capacity: text.byteCount)
        writer.append(text)
        set(writer, HTTPResponse.plainText)
    }

    /// A response whose body is written piece by piece: `length` bytes, or as many as it gets.
    @export(interface)
    public convenience init(
        _ status: HTTPStatus = .ok, type: StaticString, length: UInt64? = nil,
        _ produce: @escaping BodyProducer
    ) {
        self.init(status)
        add("Content-Type", type)
        body = .produced(length: length, produce)
    }

    private static var plainText: StaticString { "text/plain; charset=utf-8" }

    /// Makes what was written the body; without memory for it the connection ends.
    private func set(_ writer: ByteWriter, _ type: StaticString) {
        add("Content-Type", type)
        guard let buffer = writer.take() else {
            // Nobody can take this for an empty body.
            body = .produced(length: 1) { (_) async throws(HTTPError) in throw .outOfMemory }
            return
        }
        body = .buffer(buffer)
    }

    /// A response with its status as text.
    @inline(never) static func explained(_ status: HTTPStatus) -> HTTPResponse {
        let response = HTTPResponse(status)
        guard !status.hasNoBody else { return response }
        let text = ByteWriter(capacity: 48)
        status.emit(into: text)
        text.append(ASCII.lineFeed)
        // What is scarce comes back soon.
        if status == .serviceUnavailable { response.add("Retry-After", "1") }
        response.set(text, plainText)
        return response
    }

    /// Adds a header field.
    @inline(never) public func add(_ name: StaticString, _ value: StaticString) {
        begin(name)
        head.append(value)
        end()
    }

    /// Adds a header field. Control characters in `value` become blanks, so that no value can
    /// add a line of its own.
    public func add(_ name: StaticString, bytes value: [UInt8]) {
        begin(name)
        for byte in value {
            let isControl = byte < ASCII.space || byte == 0x7F
            head.append(isControl ? ASCII.space : byte)
        }
        end()
    }

    /// Begins a header field.
    @inline(never) func begin(_ name: StaticString) {
        head.append(name)
        head.append(": ")
    }

    /// Ends a header field.
    @inline(never) func end() { head.append("\r\n") }
}
