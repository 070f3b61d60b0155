import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// What is scarce is waited for, and then 503; never 500.
@Suite(.timeLimit(.minutes(5))) struct HTTPScarcityTests {
    private static let request = Array("GET /f HTTP/1.1\r\nHost: h\r\n\r\n".utf8)

    @Core private func server() -> (Bench, FileFaults) {
        let tree = MemoryTree()
        tree.addFile("/f", "contents")
        let files = InMemoryFileSystem(tree)
        return (Bench(files), files.faults)
    }

    /// Operation 1 opens, 2 reads, 3 asks for attributes.
    @Test(arguments: [FileError.tooManyOpenFiles, .outOfMemory], [1, 2]) @Core
    func whatIsScarceIsWaitedFor(_ error: FileError, operation: Int) async {
        let (bench, faults) = server()
        for number in operation..<operation + 3 { faults.fail(operation: number, with: error) }
        let client = bench.port.connect()
        client.inject(Self.request)
        // An opening is tried again after 100, 200 and 400 ms, a reading each 100 ms.
        let time: UInt64 = operation == 1 ? 700 : 300
        await bench.clock.advance(by: .milliseconds(time - 1))
        #expect(client.pendingBytes == 0)
        await bench.clock.advance(by: .milliseconds(1))
        #expect(await bench.rest(client).hasSuffix("\r\n\r\ncontents"))
        client.close()
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    @Test(arguments: [FileError.tooManyOpenFiles, .outOfMemory], [1, 2, 3]) @Core
    func whatStaysScarceIsUnavailable(_ error: FileError, operation: Int) async {
        let (bench, faults) = server()
        faults.onOperation = { if $0 >= operation { faults.failure = error } }
        let client = bench.port.connect()
        client.inject(Self.request)
        await bench.clock.advance(by: .seconds(20))
        let answer = await bench.rest(client)
        #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 1\r\n"))
        // The connection goes on, and so does the file.
        faults.onOperation = nil
        faults.failure = nil
        client.inject(Self.request)
        #expect(await bench.rest(client).hasSuffix("\r\n\r\ncontents"))
        client.close()
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    /// Whose head is out is not cut for want of memory: neither at a block, 4 to 6, nor at the last
    /// question whether the file is still the same, 7.
    @Test(arguments: 4...7) @Core func whatHasBegunWaits(operation: Int) async {
        let tree = MemoryTree()
        tree.addFile("/f", String(repeating: "x", count: 200_000) + "end")
        let files = InMemoryFileSystem(tree)
        let faults = files.faults
        let bench = Bench(files)
        faults.onOperation = { if $0 >= operation { faults.failure = .outOfMemory } }
        let client = bench.port.connect()
        client.inject(Self.request)
        await bench.clock.advance(by: .seconds(100))
        faults.onOperation = nil
        faults.failure = nil
        await bench.clock.advance(by: .seconds(1))
        let answer = await bench.rest(client)
        #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.hasSuffix("xend"))
        client.close()
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }

    /// An error of the disk is none of scarcity.
    @Test(arguments: [1, 2]) @Core func whatIsBrokenIsSaid(operation: Int) async {
        let (bench, faults) = server()
        faults.fail(operation: operation, with: .host(code: 5))
        let client = bench.port.connect()
        client.inject(Self.request)
        #expect(await bench.rest(client).hasPrefix("HTTP/1.1 500 "))
        client.close()
        #expect(await bench.stop() == nil)
    }
}
