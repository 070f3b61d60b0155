/// How the end of a request's body is found (RFC 9112 section 6).
enum HTTPFraming: Equatable {
    /// There is no body.
    case none
    /// So many bytes (`Content-Length`).
    case length(UInt64)
    /// Chunks (`Transfer-Encoding: chunked`).
    case chunked
}

/// A request's head after it was parsed: offsets into its bytes, and what they mean.
final class HTTPRequestHead {
    /// The length of the head in bytes, the empty line included.
    var length = 0
    /// What is asked for.
    var method = HTTPMethod.other
    /// Where the method's name is.
    var methodName = 0..<0
    /// Where the request-target is (RFC 9112 section 3.2).
    var target = 0..<0
    /// Where the target's path is, still percent-encoded; empty stands for `/`.
    var path = 0..<0
    /// Where the target's query is, without the question mark; nil if there is none.
    var query: Range<Int>?
    /// The minor version: 0, or 1 for 1 and all above it.
    var minorVersion: UInt8 = 1
    /// How the end of the body is found.
    var framing = HTTPFraming.none
    /// Whether the connection may go on after this request (RFC 9112 section 9.3).
    var keepsAlive = true
    /// Whether the client waits for 100 before it sends the body.
    var expectsContinue = false
    /// Whether a field is there that asks for less than the whole file: a range or a condition
    /// (RFC 9110 sections 13.1 and 14.2).
    var isConditional = false
    /// Where the header fields begin.
    var fields = 0
}

/// One header field of a head: where its name and value are.
struct HTTPField {
    /// Where the name is.
    let name: Range<Int>
    /// Where the value is, blanks at its ends left out; nil in a line without a colon.
    let value: Range<Int>?
}

/// Walks over the header fields of a head whose lines are known to end with CRLF.
struct HTTPFieldCursor {
    /// Where the next line begins.
    var offset: Int

    /// The next field; nil at the empty line.
    mutating func next(in bytes: RawSpan) -> HTTPField? {
        guard offset < bytes.byteCount,
            let end = bytes.first(ASCII.carriageReturn, in: offset..<bytes.byteCount), end > offset
        else { return nil }
        let line = offset..<end
        offset = end + 2
        guard let colon = bytes.first(ASCII.colon, in: line) else {
            return HTTPField(name: line, value: nil)
        }
        return HTTPField(
            name: line.lowerBound..<colon, value: bytes.trimmed(colon + 1..<line.upperBound))
    }

    /// The value of the next field with this name, which is given in lower case.
    mutating func next(_ name: StaticString, in bytes: RawSpan) -> Range<Int>? {
        while let field = next(in: bytes) {
            if bytes.matches(field.name, name) { return field.value }
        }
        return nil
    }
}

/// Walks over a list of elements with commas between them (RFC 9110 section 5.6.1); not for
/// lists with quoted strings.
struct HTTPListCursor {
    private var rest: Range<Int>

    /// A walk over the list in `range`.
    init(_ range: Range<Int>) { rest = range }

    /// The next element that is not empty; nil at the end.
    mutating func next(in bytes: RawSpan) -> Range<Int>? {
        while !rest.isEmpty {
            let end = bytes.first(ASCII.comma, in: rest) ?? rest.upperBound
            let element = bytes.trimmed(rest.lowerBound..<end)
            rest = min(end + 1, rest.upperBound)..<rest.upperBound
            if !element.isEmpty { return element }
        }
        return nil
    }
}
