/// Finds and checks the head of a request in bytes that come in any portions (RFC 9112).
///
/// The bytes so far are passed again each time, with more behind them; no byte is looked at twice
/// until the head is complete. What is not exactly as the RFC has it is refused: a proxy in front
/// could otherwise understand a request differently (request smuggling, section 11.2).
///
///     var parser = HTTPRequestParser(HTTPLimits())
///     switch parser.parse(buffer.bytes) {
///     case .incomplete: …     // receive more
///     case .complete(let head): …
///     case .refused(let status): …    // answer and close
///     }
struct HTTPRequestParser {
    /// What is known after a call of ``parse(_:)``.
    enum Outcome {
        /// The head has not ended yet.
        case incomplete
        /// The head is `length` bytes long; the body's bytes follow.
        case complete(HTTPRequestHead)
        /// No request; answer with this status and close the connection.
        case refused(HTTPStatus)
    }

    private let headLimit: Int
    private let targetLimit: Int
    /// The bytes looked at.
    private var scanned = 0
    /// Where the line under the scanner begins.
    private var lineStart = 0
    /// Where the request line begins: 0, or 2 behind an empty line.
    private var requestLine = 0
    private var inRequestLine = true
    private var afterCarriageReturn = false
    /// Where the target begins, once the scanner has seen the space before it.
    private var targetStart: Int?
    private var targetEnded = false
    /// Whether the method is HEAD, as far as the bytes tell: known from the space behind it on, so
    /// that a refusal has no body either (RFC 9110 section 9.3.2).
    private(set) var isHead = false

    /// A parser for one request whose head and target are no longer than `limits` says.
    init(_ limits: HTTPLimits) {
        headLimit = limits.headBytes
        targetLimit = limits.targetBytes
    }

    /// Looks at the bytes that are new since the last call. After an outcome other than
    /// `.incomplete` the parser is used up. O(new bytes), and O(head) once.
    mutating func parse(_ bytes: RawSpan) -> Outcome {
        while scanned < bytes.byteCount {
            if !inRequestLine, !afterCarriageReturn {
                // Nothing in a field's line matters here but its end.
                scanned = bytes.firstControl(in: scanned..<min(bytes.byteCount, headLimit))
                if scanned == bytes.byteCount { break }
            }
            guard scanned < headLimit else { return tooLong }
            let byte = bytes.byte(scanned)
            scanned += 1
            if afterCarriageReturn {
                guard byte == ASCII.lineFeed else { return .refused(.badRequest) }
                afterCarriageReturn = false
                if scanned - 2 > lineStart {
                    inRequestLine = false
                } else if !inRequestLine {
                    return HTTPRequestParser.parseHead(bytes, requestLine, length: scanned)
                } else if requestLine == 0 {
                    // One empty line before a request is ignored (section 2.2).
                    requestLine = scanned
                } else {
                    return .refused(.badRequest)
                }
                lineStart = scanned
            } else if byte == ASCII.carriageReturn {
                afterCarriageReturn = true
            } else if ASCII.isControl(byte) {
                return .refused(.badRequest)
            } else if inRequestLine {
                if byte == ASCII.space {
                    if targetStart == nil {
                        targetStart = scanned
                        isHead =
                            scanned - requestLine == 5
                            && bytes.matches(from: requestLine, "HEAD", 0..<4)
                    } else {
                        targetEnded = true
                    }
                } else if let targetStart, !targetEnded, scanned - targetStart > targetLimit {
                    return .refused(.uriTooLong)
                }
            }
        }
        return scanned < headLimit ? .incomplete : tooLong
    }

    private var tooLong: Outcome { .refused(inRequestLine ? .uriTooLong : .headerFieldsTooLarge) }

    /// Checks a head whose lines are known to end with CRLF and to hold no control character.
    private static func parseHead(_ bytes: RawSpan, _ start: Int, length: Int) -> Outcome {
        let head = HTTPRequestHead()
        head.length = length
        guard let lineEnd = bytes.first(ASCII.carriageReturn, in: start..<length) else {
            return .refused(.badRequest)
        }
        if let refusal = head.parseRequestLine(bytes, start..<lineEnd) { return .refused(refusal) }
        head.fields = lineEnd + 2
        if let refusal = head.parseFields(bytes.extracting(0..<length)) {
            return .refused(refusal)
        }
        return .complete(head)
    }
}
