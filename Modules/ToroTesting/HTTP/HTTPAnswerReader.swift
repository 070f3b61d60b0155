public import ToroCore

/// One response as a client has read it.
public struct HTTPAnswer: Equatable, Sendable {
    /// The status code.
    public var status = 0
    /// The header fields, names in lower case, in order.
    public var fields: [Field] = []
    /// The body, its coding taken off.
    public var body: [UInt8] = []

    /// One header field.
    public struct Field: Equatable, Sendable {
        /// The name in lower case.
        public let name: String
        /// The value.
        public let value: String
    }

    /// The fields but for the time of the response.
    var undatedFields: [Field] { fields.filter { $0.name != "date" } }

    /// The value of the first field with this name, which is given in lower case.
    public func field(_ name: String) -> String? { fields.first { $0.name == name }?.value }
}

/// A simple HTTP client's reading side, slow and strict, with no code of the server's.
@Core public final class HTTPAnswerReader<Stream: ByteStream> {
    private let stream: Stream
    private var bytes: [UInt8] = []
    private var ended = false

    /// A reader of what `stream` delivers.
    public init(_ stream: Stream) { self.stream = stream }

    /// Whether the peer has finished, and every byte was read.
    public func isAtEnd() async -> Bool {
        let hasMore = await more()
        return bytes.isEmpty && !hasMore
    }

    /// The next response, nil if it is not whole or not HTTP; `isHead` if it answers a HEAD.
    public func next(isHead: Bool = false) async -> HTTPAnswer? {
        guard let line = await line(), line.hasPrefix("HTTP/1.1 "), line.utf8.count >= 13,
            let status = Int(line.dropFirst(9).prefix(3))
        else { return nil }
        var answer = HTTPAnswer(status: status)
        while true {
            guard let line = await self.line() else { return nil }
            if line.isEmpty { break }
            guard let colon = line.firstIndex(of: ":") else { return nil }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            answer.fields.append(
                HTTPAnswer.Field(name: line[..<colon].lowercased(), value: String(value)))
        }
        if isHead || status < 200 || status == 204 || status == 304 { return answer }
        return await readBody(of: &answer) ? answer : nil
    }

    private func readBody(of answer: inout HTTPAnswer) async -> Bool {
        if answer.field("transfer-encoding") == "chunked" {
            guard answer.field("content-length") == nil else { return false }
            while true {
                guard let line = await line(), let size = Int(line, radix: 16),
                    let data = await take(size), await self.line() == ""
                else { return false }
                if size == 0 { return true }
                answer.body += data
            }
        }
        if let text = answer.field("content-length") {
            guard let length = Int(text), let data = await take(length) else { return false }
            answer.body = data
            return true
        }
        while await more() {}
        answer.body = bytes
        bytes = []
        return true
    }

    private func take(_ count: Int) async -> [UInt8]? {
        while bytes.count < count { if !(await more()) { return nil } }
        defer { bytes.removeFirst(count) }
        return Array(bytes.prefix(count))
    }

    /// The next line, without its CRLF, as Latin-1.
    private func line() async -> String? {
        var index = 0
        while true {
            while index + 1 < bytes.count {
                if bytes[index] == 13, bytes[index + 1] == 10 {
                    let text = String(
                        String.UnicodeScalarView(bytes[..<index].map { Unicode.Scalar($0) }))
                    bytes.removeFirst(index + 2)
                    return text
                }
                index += 1
            }
            if !(await more()) { return nil }
        }
    }

    private func more() async -> Bool {
        if ended { return false }
        do throws(StreamError) {
            guard let received = try await stream.receive() else {
                ended = true
                return false
            }
            append(received)
            return true
        } catch {
            ended = true
            return false
        }
    }

    private func append(_ received: consuming IOBuffer) {
        let span = received.bytes
        for index in 0..<span.byteCount {
            // SAFETY: index is within the span, and every byte is a UInt8.
            bytes.append(unsafe span.unsafeLoad(fromByteOffset: index, as: UInt8.self))
        }
    }
}
