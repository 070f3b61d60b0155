/// The outcome of a request: a number of three digits (RFC 9110 section 15).
public struct HTTPStatus: Equatable, Sendable {
    /// The number, 100 to 599.
    public let code: UInt16

    /// The status with this number; a number out of range is taken as 500.
    public init(_ code: UInt16) { self.code = code >= 100 && code < 600 ? code : 500 }

    /// The names of the numbers, for humans; none for the last line's.
    private static var reasons: TextTable {
        TextTable(
            """
            100 Continue
            200 OK
            201 Created
            202 Accepted
            204 No Content
            206 Partial Content
            301 Moved Permanently
            302 Found
            303 See Other
            304 Not Modified
            307 Temporary Redirect
            308 Permanent Redirect
            400 Bad Request
            401 Unauthorized
            403 Forbidden
            404 Not Found
            405 Method Not Allowed
            408 Request Timeout
            409 Conflict
            411 Length Required
            412 Precondition Failed
            413 Content Too Large
            414 URI Too Long
            415 Unsupported Media Type
            416 Range Not Satisfiable
            417 Expectation Failed
            429 Too Many Requests
            431 Request Header Fields Too Large
            500 Internal Server Error
            501 Not Implemented
            503 Service Unavailable
            505 HTTP Version Not Supported


            """)
    }

    /// 200: here it is.
    public static var ok: HTTPStatus { HTTPStatus(200) }
    /// 201: the request made a resource.
    public static var created: HTTPStatus { HTTPStatus(201) }
    /// 204: done, and there is nothing to send.
    public static var noContent: HTTPStatus { HTTPStatus(204) }
    /// 206: the range that was asked for.
    public static var partialContent: HTTPStatus { HTTPStatus(206) }
    /// 301: look there, always.
    public static var movedPermanently: HTTPStatus { HTTPStatus(301) }
    /// 303: look there for the result.
    public static var seeOther: HTTPStatus { HTTPStatus(303) }
    /// 304: what the client has is current.
    public static var notModified: HTTPStatus { HTTPStatus(304) }
    /// 400: the request is not HTTP, or makes no sense.
    public static var badRequest: HTTPStatus { HTTPStatus(400) }
    /// 403: not for this client.
    public static var forbidden: HTTPStatus { HTTPStatus(403) }
    /// 404: no such resource.
    public static var notFound: HTTPStatus { HTTPStatus(404) }
    /// 405: the resource has no such method.
    public static var methodNotAllowed: HTTPStatus { HTTPStatus(405) }
    /// 408: the request did not come in time.
    public static var requestTimeout: HTTPStatus { HTTPStatus(408) }
    /// 412: a condition of the request is false.
    public static var preconditionFailed: HTTPStatus { HTTPStatus(412) }
    /// 413: the request's body is over the limit.
    public static var contentTooLarge: HTTPStatus { HTTPStatus(413) }
    /// 414: the request's target is over the limit.
    public static var uriTooLong: HTTPStatus { HTTPStatus(414) }
    /// 416: the file has no such range.
    public static var rangeNotSatisfiable: HTTPStatus { HTTPStatus(416) }
    /// 417: an `Expect` other than `100-continue`.
    public static var expectationFailed: HTTPStatus { HTTPStatus(417) }
    /// 431: the request's head is over the limit.
    public static var headerFieldsTooLarge: HTTPStatus { HTTPStatus(431) }
    /// 500: the service failed.
    public static var internalServerError: HTTPStatus { HTTPStatus(500) }
    /// 501: the server does not know that method or transfer coding.
    public static var notImplemented: HTTPStatus { HTTPStatus(501) }
    /// 503: no room at the moment.
    public static var serviceUnavailable: HTTPStatus { HTTPStatus(503) }
    /// 505: neither HTTP/1.1 nor HTTP/1.0.
    public static var versionNotSupported: HTTPStatus { HTTPStatus(505) }

    /// Whether a response with this status never has a body (RFC 9112 section 6.3).
    var hasNoBody: Bool { code < 200 || code == 204 || code == 304 }

    /// Writes the number and its name.
    @inline(never) func emit(into writer: ByteWriter) {
        writer.append(decimal: UInt64(code))
        writer.append(ASCII.space)
        let digits = UInt32(code / 100) | UInt32(code / 10 % 10) << 8 | UInt32(code % 10) << 16
        HTTPStatus.reasons.append(
            3, { 0x30 + UInt8(truncatingIfNeeded: digits >> UInt32($0 * 8)) }, to: writer)
    }
}
