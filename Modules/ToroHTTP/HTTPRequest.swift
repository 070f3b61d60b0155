public import ToroCore

/// A request: its head, and its body as it arrives.
///
/// It is good until the response to it has been sent.
@Core public final class HTTPRequest {
    /// The head's bytes.
    let bytes: IOBuffer
    /// Where everything is in `bytes`.
    let head: HTTPRequestHead
    /// The connection that it came on, until the response has been sent.
    var connection: HTTPConnection?
    /// What is left of the body.
    var bodyState: HTTPBodyState

    /// The file that the target names: percent-decoded, without the query, with no `..` and no
    /// NUL in it. `*` in `OPTIONS *`.
    public let path: Path

    init(
        _ head: HTTPRequestHead, _ bytes: consuming IOBuffer, path: [UInt8],
        connection: HTTPConnection
    ) {
        self.head = head
        self.bytes = bytes
        self.path = Path(path)
        self.connection = connection
        bodyState = HTTPBodyState(head)
    }

    /// What is asked for.
    public var method: HTTPMethod { head.method }

    /// The method's name as it was sent.
    public var methodName: [UInt8] { copy(head.methodName) }

    /// The request-target as it was sent.
    public var target: [UInt8] { copy(head.target) }

    /// The target's query as it was sent, without the question mark; nil if there is none.
    public var query: [UInt8]? { head.query.map(copy) }

    /// The length of the body if it was announced; nil for a chunked body, 0 for none.
    public var announcedLength: UInt64? {
        switch head.framing {
        case .none: 0
        case .length(let length): length
        case .chunked: nil
        }
    }

    /// The value of the first field with this name, which is given in lower case; nil if there is
    /// none. O(length of the head).
    public func header(_ name: StaticString) -> [UInt8]? {
        withHead { bytes in
            var cursor = HTTPFieldCursor(offset: head.fields)
            return cursor.next(name, in: bytes).map { bytes.copy($0) }
        }
    }

    /// The next bytes of the body, at least one, in the buffer they arrived in where possible; nil
    /// at the end. A client that waits for `100 Continue` gets it at the first call.
    public func nextBytes() async throws(HTTPError) -> IOBuffer? {
        guard let connection else { throw .disconnected }
        return try await connection.nextBytes(of: self)
    }

    /// Gives `body` the head's bytes.
    func withHead<Result>(_ body: (RawSpan) -> Result) -> Result {
        HTTPRequest.lend(bytes, to: body)
    }

    /// A span of a class's buffer cannot leave the access to it; one of a parameter's can.
    private static func lend<Result>(
        _ buffer: borrowing IOBuffer, to body: (RawSpan) -> Result
    ) -> Result { body(buffer.bytes) }

    private func copy(_ range: Range<Int>) -> [UInt8] { withHead { $0.copy(range) } }
}

/// How far the body of a request has been read.
struct HTTPBodyState {
    /// What the body's end is found by, and what is left of it.
    enum Rest {
        case none
        case length(UInt64)
        case chunked(HTTPChunkedDecoder)
    }

    /// What is left.
    var rest: Rest
    /// The bytes delivered, or thrown away.
    var received: UInt64 = 0
    /// Whether the client still waits for `100 Continue`.
    var owesContinue: Bool

    /// A body of which nothing has been read.
    init(_ head: HTTPRequestHead) {
        owesContinue = head.expectsContinue
        switch head.framing {
        case .none: rest = .none
        case .length(let length): rest = .length(length)
        case .chunked: rest = .chunked(HTTPChunkedDecoder())
        }
    }

    /// Whether all of it has been read.
    var hasEnded: Bool {
        if case .none = rest { return true }
        return false
    }
}
