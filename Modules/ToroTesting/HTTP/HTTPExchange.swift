/// One try of a server: bytes in, and what must come back.
public struct HTTPExchange: Sendable {
    /// One expected response.
    public struct Expected: Sendable {
        var status: Int
        var fields: [(name: String, value: String?)] = []
        var body: [UInt8]?
        var isHead = false
    }

    /// What is tried.
    public let name: String
    /// The bytes the client sends.
    public let request: [UInt8]
    /// The responses that must come, in order.
    public let expected: [Expected]
    /// Whether the server must close the connection then; otherwise it must answer a further
    /// request.
    public let closes: Bool

    /// A try with one or more responses.
    init(_ name: String, _ request: [UInt8], _ expected: [Expected], closes: Bool = false) {
        self.name = name
        self.request = request
        self.expected = expected
        self.closes = closes
    }

    /// A request that is no HTTP, or not safe: one response, and the connection's end.
    static func refused(_ name: String, _ request: String, _ status: Int) -> HTTPExchange {
        HTTPExchange(name, Array(request.utf8), [.status(status)], closes: true)
    }

    /// A GET of `target`, the connection staying.
    static func get(
        _ target: String, _ fields: String, _ expected: Expected
    ) -> HTTPExchange {
        let request = "GET " + target + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"
        return HTTPExchange("GET " + target + " " + fields, Array(request.utf8), [expected])
    }

    /// A GET of `target` without further fields.
    static func get(_ target: String, _ expected: Expected) -> HTTPExchange {
        get(target, "", expected)
    }
}

extension HTTPExchange.Expected {
    /// A response with this status, whatever else.
    static func status(_ status: Int) -> Self { Self(status: status) }

    /// A response with this status and body.
    static func content(_ text: String, status: Int = 200) -> Self {
        Self(status: status, body: Array(text.utf8))
    }

    /// As this one, with a field of this value; without that field for nil.
    func with(_ name: String, _ value: String?) -> Self {
        var copy = self
        copy.fields.append((name, value))
        return copy
    }

    /// As this one, to a HEAD.
    var toHead: Self {
        var copy = self
        copy.isHead = true
        return copy
    }
}
