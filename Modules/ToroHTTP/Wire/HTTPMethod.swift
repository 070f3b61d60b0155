/// What a request asks for (RFC 9110 section 9).
public enum HTTPMethod: UInt8, Sendable {
    /// The current representation.
    case get
    /// As `get`, but only the head of the answer.
    case head
    /// Process the body.
    case post
    /// Replace the resource with the body.
    case put
    /// Remove the resource.
    case delete
    /// Make a tunnel; ToroHTTP answers 501.
    case connect
    /// Describe the ways of communication.
    case options
    /// Send the request back.
    case trace
    /// Change the resource (RFC 5789).
    case patch
    /// A method that ToroHTTP does not know; see ``HTTPRequest/methodName``.
    case other

    /// The method of that name; names are case-sensitive.
    init(_ bytes: RawSpan, _ range: Range<Int>) {
        self = .other
        for code in 0..<HTTPMethod.other.rawValue {
            guard let method = HTTPMethod(rawValue: code) else { continue }
            let name = method.name
            guard name.byteCount == range.count,
                bytes.matches(from: range.lowerBound, name, 0..<name.byteCount)
            else { continue }
            self = method
            return
        }
    }

    /// The method's name in a request, empty for `other`.
    public var name: StaticString {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .connect: "CONNECT"
        case .options: "OPTIONS"
        case .trace: "TRACE"
        case .patch: "PATCH"
        case .other: ""
        }
    }
}
