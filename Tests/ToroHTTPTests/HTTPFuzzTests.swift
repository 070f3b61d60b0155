import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// Requests that are nearly right: whatever comes, the server answers in HTTP or hangs up, and is
/// there for the next client.
@Suite(.timeLimit(.minutes(2))) struct HTTPFuzzTests {
    private static let seeds = [
        "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-3\r\nIf-None-Match: \"x\"\r\n\r\n",
        "POST /a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
        "GET /%61.txt?q=1 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        "HEAD http://h/a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /../../secret HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
    ].map { Array($0.utf8) }

    /// Pieces that parsers stumble over.
    private static let pieces = [
        "\r\n", "\n", "\r", "\0", " ", ":", "%00", "%2e%2e/", "..", "/", "\t", "HTTP/1.1", ",",
        "99999999999999999999", "-1", "0x10", ";", "\u{ff}", "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n", "Host: h\r\n", "bytes=", "-", "chunked",
    ].map { Array($0.utf8) }

    private func mutate(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
        for _ in 0..<1 + random.below(4) where !bytes.isEmpty {
            let place = random.below(bytes.count)
            switch random.below(5) {
            case 0: bytes[place] = UInt8(random.below(256))
            case 1: bytes.remove(at: place)
            case 2: bytes.removeLast(min(bytes.count - place, 1 + random.below(10)))
            case 3: bytes.insert(contentsOf: bytes.prefix(random.below(30)), at: place)
            default:
                let piece = HTTPFuzzTests.pieces[random.below(HTTPFuzzTests.pieces.count)]
                bytes.insert(contentsOf: piece, at: place)
            }
        }
    }

    @Test(arguments: FuzzSeeds.all(1...8)) @Core func answersOrHangsUp(_ first: UInt64) async {
        for seed in FuzzSeeds(from: first) { await answerOrHangUp(seed) }
    }

    @Core private func answerOrHangUp(_ seed: UInt64) async {
        var random = SeededRandom(seed: seed)
        let tree = MemoryTree()
        tree.addFile("/a.txt", "contents of a\n")
        let bench = Bench(tree)
        for round in 0..<150 {
            var request = HTTPFuzzTests.seeds[random.below(HTTPFuzzTests.seeds.count)]
            mutate(&request, &random)
            let client = bench.port.connect()
            client.inject(request)
            try? await client.finish()
            let answer = await bench.rest(client)
            if !answer.isEmpty {
                #expect(answer.hasPrefix("HTTP/1.1 "), "seed \(seed), round \(round): \(request)")
                #expect(!answer.contains("secret"), "seed \(seed), round \(round)")
            }
            client.close()
        }
        let answer = await bench.answer("GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(answer.hasSuffix("contents of a\n"))
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    /// The same bytes in one piece and in pieces of every size get the same answer.
    @Test(arguments: FuzzSeeds.all(1...6)) @Core func piecesMakeNoDifference(_ first: UInt64) async
    {
        for seed in FuzzSeeds(from: first) { await comparePieces(seed) }
    }

    @Core private func comparePieces(_ seed: UInt64) async {
        var random = SeededRandom(seed: seed)
        let tree = MemoryTree()
        tree.addFile("/a.txt", "contents of a\n")
        for _ in 0..<15 {
            var request = HTTPFuzzTests.seeds[random.below(HTTPFuzzTests.seeds.count)]
            if random.below(3) > 0 { mutate(&request, &random) }
            var answers: [String] = []
            for size in [65_536, 1, 3] {
                let bench = Bench(tree)
                bench.port.bytesPerReceive = size
                let client = bench.port.connect()
                client.inject(request)
                try? await client.finish()
                answers.append(await bench.rest(client))
                client.close()
                _ = await bench.stop()
            }
            #expect(answers[0] == answers[1] && answers[0] == answers[2], "\(request): \(answers)")
        }
    }
}
