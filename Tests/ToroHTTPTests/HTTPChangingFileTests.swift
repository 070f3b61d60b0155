import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// Files that others change while they are sent: length, entity tag and bytes are of one version,
/// or the answer is visibly not whole.
@Suite(.timeLimit(.minutes(5))) struct HTTPChangingFileTests {
    /// How a file changes.
    enum Change: CaseIterable, Sendable { case grows, shrinks, isRewritten }

    private static func bytes(_ count: Int, _ version: UInt8) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) & 0x7F | version }
    }

    /// The two versions of a file of `size` bytes.
    private static func versions(_ size: Int, _ change: Change) -> (old: [UInt8], new: [UInt8]) {
        let newSize =
            switch change {
            case .grows: size * 2
            case .shrinks: size / 2
            case .isRewritten: size
            }
        return (bytes(size, 0), bytes(newSize, 0x80))
    }

    /// What came of a request.
    @Core private func ask(
        _ files: InMemoryFileSystem, _ method: String = "GET", _ fields: String = "",
        memory: Int = 2 << 20
    ) async -> (answer: HTTPAnswer?, wasReset: Bool) {
        let site = HTTPFiles(files, memory: memory)
        let bench = Bench { request in await site.respond(to: request) }
        let client = bench.port.connect()
        client.inject(Array("\(method) /f HTTP/1.1\r\nHost: h\r\n\(fields)\r\n".utf8))
        let answer = await HTTPAnswerReader(client).next(isHead: method == "HEAD")
        let wasReset = client.wasReset
        client.close()
        #expect(await bench.stop() == nil)
        #expect(files.openFiles == 0)
        return (answer, wasReset)
    }

    /// The entity tag of a version, from an answer in peace.
    @Core private func tag(_ contents: [UInt8], _ modified: WallTime) async -> String? {
        let tree = MemoryTree()
        tree.modified = modified
        tree.addFile("/f", contents: contents)
        return await ask(InMemoryFileSystem(tree), "HEAD").answer?.field("etag")
    }

    /// The change comes before each of the operations that an answer takes, one after the other.
    @Test(arguments: Change.allCases, [1, 100, 65_536, 65_537, 400_000]) @Core
    func everyAnswerIsOfOneVersion(_ change: Change, size: Int) async {
        let (old, new) = Self.versions(size, change)
        let (before, after) = (WallTime(seconds: 1_000), WallTime(seconds: 1_000, nanoseconds: 1))
        let tags = [await tag(old, before), await tag(new, after)]
        var (whole, cut) = (0, 0)
        for method in ["GET", "HEAD"] {
            for place in 1...16 {
                let tree = MemoryTree()
                tree.modified = before
                let node = tree.addFile("/f", contents: old)
                let files = InMemoryFileSystem(tree)
                files.faults.onOperation = { number in
                    guard number == place else { return }
                    node.contents = new
                    node.modified = after
                }
                let (answer, wasReset) = await ask(files, method)
                guard let answer else {
                    #expect(wasReset && size > 65_536, "\(method), place \(place)")
                    cut += 1
                    continue
                }
                whole += 1
                #expect(answer.status == 200)
                let isNew = answer.field("etag") == tags[1]
                #expect(isNew || answer.field("etag") == tags[0], "\(method), place \(place)")
                let right = isNew ? new : old
                #expect(answer.field("content-length") == String(right.count))
                #expect(method == "HEAD" || answer.body == right, "\(method), place \(place)")
            }
        }
        #expect(whole > 20 && (cut > 0) == (size > 65_536), "\(whole) whole, \(cut) cut")
    }

    /// With so little memory that the first block is smaller than it should be, a file counts as a long
    /// one: what changes before the head is out makes the answer another one, and does not cut it.
    @Test(arguments: Change.allCases, 1...8) @Core
    func everyAnswerIsOfOneVersionWhenMemoryIsShort(_ change: Change, place: Int) async {
        let (old, new) = Self.versions(40_000, change)
        let (before, after) = (WallTime(seconds: 1_000), WallTime(seconds: 2_000))
        let tags = [await tag(old, before), await tag(new, after)]
        let tree = MemoryTree()
        tree.modified = before
        let node = tree.addFile("/f", contents: old)
        let files = InMemoryFileSystem(tree)
        files.faults.onOperation = { number in
            guard number == place else { return }
            node.contents = new
            node.modified = after
        }
        // A block has a quarter of it.
        let (answer, wasReset) = await ask(files, memory: 64 << 10)
        guard let answer else {
            // Opened, read and asked about once: after that the head goes out.
            #expect(wasReset && place > 3)
            return
        }
        let isNew = answer.field("etag") == tags[1]
        #expect(isNew || answer.field("etag") == tags[0])
        #expect(answer.status == 200 && answer.body == (isNew ? new : old))
    }

    /// A range is part of the version that its head names.
    @Test(arguments: 1...8) @Core func everyRangeIsOfOneVersion(place: Int) async {
        let (old, new) = Self.versions(1_000, .grows)
        let tree = MemoryTree()
        let node = tree.addFile("/f", contents: old)
        let files = InMemoryFileSystem(tree)
        files.faults.onOperation = { number in
            guard number == place else { return }
            node.contents = new
            node.modified = WallTime(seconds: 1_800_000_000)
        }
        let answer = await ask(files, "GET", "Range: bytes=500-599\r\n").answer
        let isNew = answer?.field("content-range") == "bytes 500-599/2000"
        #expect(isNew || answer?.field("content-range") == "bytes 500-599/1000")
        #expect(answer?.status == 206 && answer?.body == Array((isNew ? new : old)[500..<600]))
    }

    /// A client that has the old version is not told that it is current.
    @Test @Core func whatIsOldIsNotCurrent() async {
        let (old, new) = Self.versions(100, .isRewritten)
        let before = WallTime(seconds: 1_000)
        let tree = MemoryTree()
        tree.modified = before
        let node = tree.addFile("/f", contents: old)
        let files = InMemoryFileSystem(tree)
        files.faults.onOperation = { number in
            guard number == 2 else { return }
            node.contents = new
            node.modified = WallTime(seconds: 2_000)
        }
        let condition = "If-None-Match: \(await tag(old, before) ?? "")\r\n"
        let answer = await ask(files, "GET", condition).answer
        #expect(answer?.status == 200 && answer?.body == new)
    }

    /// What is replaced by `rename` stays what it was for those who have it open.
    @Test @Core func aReplacedFileIsSentToItsEnd() async {
        let (old, new) = Self.versions(400_000, .isRewritten)
        for place in 1...12 {
            let tree = MemoryTree()
            tree.addFile("/f", contents: old)
            let files = InMemoryFileSystem(tree)
            files.faults.onOperation = { number in
                guard number == place else { return }
                tree.modified = WallTime(seconds: 1_800_000_000)
                tree.addFile("/f", contents: new)
            }
            #expect(await ask(files).answer?.body == (place == 1 ? new : old), "place \(place)")
        }
    }

    /// There is no answer with a file that never rests, and no harm.
    @Test @Core func aFileThatNeverRestsIsUnavailable() async {
        let tree = MemoryTree()
        let node = tree.addFile("/f", contents: Self.bytes(100, 0))
        let files = InMemoryFileSystem(tree)
        files.faults.onOperation = { number in
            node.modified = WallTime(seconds: 1_000, nanoseconds: UInt32(number))
        }
        let answer = await ask(files).answer
        #expect(answer?.status == 503 && answer?.field("retry-after") == "1")
    }

    /// A file that changed a moment ago may change again without a trace, in the same step of its
    /// clock: the answer waits until that would show.
    @Test(arguments: [100, 400_000]) @Core func aYoungFileIsGivenAMoment(size: Int) async {
        let (old, new) = Self.versions(size, .isRewritten)
        let now = WallTime(seconds: 1_700_000_000)
        let tree = MemoryTree()
        tree.modified = now
        let node = tree.addFile("/f", contents: old)
        let bench = Bench(InMemoryFileSystem(tree), wallTime: now)
        let client = bench.port.connect()
        client.inject(Array("GET /f HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
        await bench.settle()
        #expect(client.takeAll() == [])
        node.contents = new
        await bench.clock.advance(by: .milliseconds(12))
        #expect(await HTTPAnswerReader(client).next()?.body == new)
        // Later it is old enough.
        await bench.clock.advance(by: .seconds(5))
        client.inject(Array("GET /f HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
        #expect(await HTTPAnswerReader(client).next()?.body == new)
        client.close()
        #expect(await bench.stop() == nil)
    }

    /// What an answer costs in requests to the file system: opening, reading, and one question for
    /// a file of a block, two for a longer one.
    @Test(arguments: [(1, 3), (65_536, 3), (65_537, 5), (400_000, 10), (0, 2)]) @Core
    func whatAnAnswerCosts(_ given: (size: Int, operations: Int)) async {
        let tree = MemoryTree()
        tree.addFile("/f", contents: Self.bytes(given.size, 0))
        let files = InMemoryFileSystem(tree)
        #expect(await ask(files).answer?.body.count == given.size)
        #expect(files.faults.operations == given.operations)
    }
}
