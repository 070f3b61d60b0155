import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// Bodies of responses that a handler writes piece by piece.
@Suite(.timeLimit(.minutes(5))) struct HTTPResponseBodyTests {
    private static let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

    @Test @Core func aBodyOfUnknownLengthGoesOutInChunks() async {
        let bench = Bench { _ in
            HTTPResponse(type: "text/plain") { (out) async throws(HTTPError) in
                try await out.write("one ")
                try await out.write([UInt8](repeating: 0x32, count: 20))
                // A chunk of no bytes would be the end.
                try await out.write([])
                try await out.write("three")
            }
        }
        let client = bench.port.connect()
        let answer = await bench.answer(Self.request, on: client)
        let chunks = "4\r\none \r\n14\r\n22222222222222222222\r\n5\r\nthree\r\n0\r\n\r\n"
        #expect(answer.contains("\r\nTransfer-Encoding: chunked\r\n"))
        #expect(!answer.contains("Content-Length") && answer.hasSuffix("\r\n\r\n" + chunks))
        // The connection stays.
        #expect(await bench.answer(Self.request, on: client) == answer)
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// A piece is with the client before the handler has written the next one.
    @Test @Core func eachPieceGoesOutWhenItIsWritten() async {
        let gate = Waiter<Bool>()
        let bench = Bench { _ in
            HTTPResponse(type: "text/plain") { (out) async throws(HTTPError) in
                try await out.write("first")
                _ = await gate.wait()
                try await out.write("second")
            }
        }
        let client = bench.port.connect()
        #expect(
            await bench.answer(Self.request, on: client).hasSuffix("\r\n\r\n5\r\nfirst\r\n"))
        gate.resume(true)
        #expect(await bench.rest(client) == "6\r\nsecond\r\n0\r\n\r\n")
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// HTTP/1.0 knows no chunks: the connection's end is the body's.
    @Test @Core func aClientOfOldGetsTheBodyWithoutChunks() async {
        let bench = Bench { _ in
            HTTPResponse(type: "text/plain") { (out) async throws(HTTPError) in
                try await out.write("one ")
                try await out.write("two")
            }
        }
        let client = bench.port.connect()
        let answer = await bench.answer(
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", on: client)
        #expect(answer.hasSuffix("\r\nConnection: close\r\n\r\none two"))
        #expect(!answer.contains("chunked") && client.isAtEnd)
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// Without a length a HEAD is answered with the head of the chunked answer, and no body.
    @Test @Core func aHeadRequestGetsNoChunks() async {
        let bench = Bench { _ in
            HTTPResponse(type: "text/plain") { (out) async throws(HTTPError) in
                try await out.write("body")
            }
        }
        let client = bench.port.connect()
        let answer = await bench.answer("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", on: client)
        #expect(answer.contains("\r\nTransfer-Encoding: chunked\r\n"))
        #expect(answer.hasSuffix("\r\n\r\n") && !client.isAtEnd)
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// What is cut off must not look whole: no last chunk, fewer bytes than announced.
    @Test(arguments: [nil, 100] as [UInt64?]) @Core
    func aBodyThatFailsDoesNotLookWhole(_ length: UInt64?) async {
        let bench = Bench { _ in
            HTTPResponse(type: "text/plain", length: length) { (out) async throws(HTTPError) in
                try await out.write("begun")
                throw .outOfMemory
            }
        }
        let client = bench.port.connect()
        let answer = await bench.answer(Self.request, on: client)
        #expect(answer.hasPrefix("HTTP/1.1 200 ") && client.isAtEnd)
        #expect(answer.hasSuffix(length == nil ? "\r\n\r\n5\r\nbegun\r\n" : "\r\n\r\nbegun"))
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// A handler that writes less or more than it announced: the promised bytes and no others.
    @Test(arguments: [(6, "12345"), (4, "")] as [(UInt64, String)]) @Core
    func aWrongLengthIsNotSent(_ example: (length: UInt64, sent: String)) async {
        let bench = Bench { _ in
            HTTPResponse(type: "text/plain", length: example.length) {
                (out) async throws(HTTPError) in try await out.write("12345")
            }
        }
        let client = bench.port.connect()
        let answer = await bench.answer(Self.request, on: client)
        // While nothing has gone out there is time for the truth, and the connection stays.
        #expect(client.isAtEnd == !example.sent.isEmpty)
        if example.sent.isEmpty {
            #expect(answer.hasPrefix("HTTP/1.1 500 "))
        } else {
            #expect(answer.hasSuffix("Content-Length: \(example.length)\r\n\r\n\(example.sent)"))
        }
        client.close()
        #expect(await bench.stop() == nil)
    }
}
