public import ToroCore

/// What every HTTP file server of Toro must do, tried over real or in-memory connections.
///
///     let failures = await HTTPConformance { port.connect() }.run()
///     #expect(failures.isEmpty)
///
/// The server serves the files of ``HTTPConformance/site`` without listing and with the default
/// limits. Needs no test library. A server that does not answer hangs the run: put a time limit
/// around it where the clock is real.
@Core public final class HTTPConformance<Stream: ByteStream> {
    private let connect: @Core () async -> Stream?
    /// The client sends so many bytes at a time.
    public var pieceLength = 65_536
    private var failures: [String] = []

    /// The number of checks made so far.
    public private(set) var checks = 0

    /// A run over connections that `connect` opens.
    public init(_ connect: @escaping @Core () async -> Stream?) { self.connect = connect }

    /// Makes all checks; one sentence for each that failed.
    public func run() async -> [String] {
        for exchange in HTTPExchange.all { await check(exchange) }
        await checkConditions()
        await checkRangesOfBigFile()
        return failures
    }

    /// Makes one try.
    public func check(_ exchange: HTTPExchange) async {
        guard let stream = await connect() else {
            expect(false, exchange.name, "no connection")
            return
        }
        let reader = HTTPAnswerReader(stream)
        _ = await send(exchange.request, on: stream)
        for expected in exchange.expected {
            guard let answer = await reader.next(isHead: expected.isHead) else {
                expect(false, exchange.name, "no whole answer")
                stream.close()
                return
            }
            compare(answer, expected, exchange.name)
        }
        if exchange.closes {
            // A server that stays waits for this, and answers it.
            _ = await send(Self.lastRequest, on: stream)
            expect(await reader.isAtEnd(), exchange.name, "the connection stays open")
        } else {
            // The server must be at the start of a request now.
            await checkInStep(stream, reader, exchange.name)
        }
        stream.close()
    }

    private static var lastRequest: [UInt8] {
        Array("GET /a.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".utf8)
    }

    private func checkInStep(
        _ stream: Stream, _ reader: HTTPAnswerReader<Stream>, _ name: String
    ) async {
        _ = await send(Self.lastRequest, on: stream)
        let answer = await reader.next()
        expect(
            answer?.status == 200 && answer?.body == Array("alpha".utf8), name,
            "the next request on the connection is not answered")
        expect(answer?.field("connection") == "close", name, "no 'Connection: close'")
        expect(await reader.isAtEnd(), name, "the connection stays open after 'close'")
    }

    private func compare(
        _ answer: HTTPAnswer, _ expected: HTTPExchange.Expected, _ name: String
    ) {
        expect(
            answer.status == expected.status, name,
            "status " + String(answer.status) + ", not " + String(expected.status))
        if let body = expected.body, !expected.isHead {
            expect(answer.body == body, name, "wrong body")
        }
        for field in expected.fields {
            let value = answer.field(field.name)
            expect(
                value == field.value, name,
                field.name + ": " + (value ?? "absent") + ", not " + (field.value ?? "absent"))
        }
    }

    private func expect(_ condition: Bool, _ name: String, _ what: String) {
        checks += 1
        if !condition { failures.append(name + ": " + what) }
    }

    private func send(_ bytes: [UInt8], on stream: Stream) async -> Bool {
        var index = 0
        while index < bytes.count {
            let end = min(index + max(pieceLength, 1), bytes.count)
            guard var buffer = try? IOBuffer(capacity: end - index) else { return false }
            for place in index..<end { buffer.append(bytes[place]) }
            if case .failure = (await stream.send(buffer)).result { return false }
            index = end
        }
        return true
    }

    /// The answer to a GET or HEAD of `target` on a connection of its own.
    private func ask(
        _ target: String, _ fields: String = "", method: String = "GET"
    ) async -> HTTPAnswer? {
        guard let stream = await connect() else { return nil }
        let text = method + " " + target + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"
        _ = await send(Array(text.utf8), on: stream)
        let answer = await HTTPAnswerReader(stream).next(isHead: method == "HEAD")
        stream.close()
        return answer
    }

    /// Conditional requests with the validators that the server itself gave.
    private func checkConditions() async {
        guard let first = await ask("/a.txt"), let tag = first.field("etag"),
            let date = first.field("last-modified")
        else {
            expect(false, "conditions", "no ETag or Last-Modified")
            return
        }
        // A file that has just been written could change again within the date's second (RFC 9110
        // section 8.8.2.2).
        let isStrong = first.field("date").map { $0 != date } ?? false
        let past = "Thu, 01 Jan 1970 00:00:00 GMT"
        let future = "Fri, 31 Dec 9999 23:59:59 GMT"
        let tries: [(String, Int)] = [
            ("If-None-Match: " + tag, 304),
            ("If-None-Match: W/" + tag, 304),
            ("If-None-Match: \"x\", W/\"y\" , " + tag, 304),
            ("If-None-Match: \"x\"\r\nIf-None-Match: " + tag, 304),
            ("If-None-Match: *", 304),
            ("If-None-Match: \"x\"", 200),
            ("If-Modified-Since: " + date, 304),
            ("If-Modified-Since: " + future, 304),
            ("If-Modified-Since: Friday, 31-Dec-60 23:59:59 GMT", 304),
            ("If-Modified-Since: Fri Dec 31 23:59:59 2060", 304),
            ("If-Modified-Since: " + past, 200),
            ("If-Modified-Since: yesterday", 200),
            ("If-None-Match: \"x\"\r\nIf-Modified-Since: " + date, 200),
            ("If-Match: " + tag, 200),
            ("If-Match: *", 200),
            ("If-Match: \"x\"", 412),
            ("If-Match: W/" + tag, 412),
            ("If-Unmodified-Since: " + date, 200),
            ("If-Unmodified-Since: " + past, 412),
            ("If-Match: " + tag + "\r\nIf-Unmodified-Since: " + past, 200),
            ("If-Match: " + tag + "\r\nIf-None-Match: " + tag, 304),
            ("Range: bytes=0-1\r\nIf-Range: " + tag, 206),
            ("Range: bytes=0-1\r\nIf-Range: \"x\"", 200),
            ("Range: bytes=0-1\r\nIf-Range: W/" + tag, 200),
            ("Range: bytes=0-1\r\nIf-Range: " + date, isStrong ? 206 : 200),
            ("Range: bytes=0-1\r\nIf-Range: " + past, 200),
            ("Range: bytes=0-1\r\nIf-None-Match: " + tag, 304),
        ]
        for (fields, status) in tries {
            let answer = await ask("/a.txt", fields + "\r\n")
            expect(
                answer?.status == status, fields,
                "status " + String(answer?.status ?? 0) + ", not " + String(status))
            if status == 304 {
                expect(answer?.field("etag") == tag, fields, "304 without the ETag")
                expect(answer?.field("content-type") == nil, fields, "304 with a Content-Type")
            }
        }
        let head = await ask("/a.txt", method: "HEAD")
        // The two may have been answered in different seconds.
        expect(
            head?.undatedFields == first.undatedFields, "HEAD", "other fields than those of GET")
    }

    private func checkRangesOfBigFile() async {
        let size = HTTPSite.bigLength
        let whole = await ask("/big.bin")
        expect(whole?.body.count == size, "big file", "wrong length")
        let expected = (0..<size).map { FileSystemRecipe.pattern(at: $0) }
        expect(whole?.body == expected, "big file", "wrong bytes")
        for range in [0..<1, 65_535..<65_537, 4_095..<200_000, size - 70_000..<size] {
            let text = String(range.lowerBound) + "-" + String(range.upperBound - 1)
            let answer = await ask("/big.bin", "Range: bytes=" + text + "\r\n")
            expect(answer?.status == 206, "range " + text, "no 206")
            expect(answer?.body == Array(expected[range]), "range " + text, "wrong bytes")
            let total = "bytes " + text + "/" + String(size)
            expect(answer?.field("content-range") == total, "range " + text, "Content-Range")
        }
    }
}
