import Foundation
import Synchronization
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// Files that the host rewrites in place while a guest serves them.
@Suite(.serialized) struct ChangingFileTests {
    /// Rewrites a file in place, with As and Bs in turn, until the test is over.
    private final class Writer: Sendable {
        private let isOver = Atomic(false)
        private let hasEnded = DispatchSemaphore(value: 0)

        init(_ path: String, size: Int, seed: UInt64) {
            Thread.detachNewThread { [self] in
                var random = SeededRandom(seed: seed)
                // SAFETY: the path is a C string for the call.
                let file = unsafe open(path, O_WRONLY)
                var letter = UInt8(ascii: "B")
                while !isOver.load(ordering: .relaxed) {
                    let bytes = [UInt8](repeating: letter, count: size)
                    // SAFETY: the length is the array's.
                    _ = unsafe pwrite(file, bytes, size, 0)
                    letter ^= 3
                    usleep(UInt32(random.below(40_000)))
                }
                close(file)
                hasEnded.signal()
            }
        }

        func end() {
            isOver.store(true, ordering: .relaxed)
            hasEnded.wait()
        }
    }

    /// Every answer has the bytes of one version and its entity tag, or is visibly not whole.
    @Test(arguments: [30_000, 140_000]) @Core
    func everyAnswerIsOfOneVersion(size: Int) async throws {
        let folder = try TestFolder()
        try folder.write([UInt8](repeating: UInt8(ascii: "A"), count: size), to: "f")
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        let writer = Writer(folder.path + "/f", size: size, seed: UInt64(size))
        defer { writer.end() }
        var letters: [String: UInt8] = [:]
        var (whole, cut, refused) = (0, 0, 0)
        let end = Date(timeIntervalSinceNow: Patience.seconds)
        while whole < 100, Date() < end {
            let stream = try await HostStream.connect(port: guest.port)
            defer { stream.close() }
            try await stream.send("GET /f HTTP/1.1\r\nHost: h\r\n\r\n")
            guard let answer = await HTTPAnswerReader(stream).next() else {
                cut += 1
                continue
            }
            guard answer.status == 200 else {
                #expect(answer.status == 503 && answer.field("retry-after") != nil)
                refused += 1
                continue
            }
            whole += 1
            let letter = try #require(answer.body.first)
            #expect(answer.body.count == size && answer.body.allSatisfy { $0 == letter })
            let tag = try #require(answer.field("etag"))
            #expect(letters.updateValue(letter, forKey: tag) ?? letter == letter, "\(tag)")
        }
        #expect(whole == 100, "\(whole) whole, \(cut) cut, \(refused) refused")
        #expect(letters.count > 10, "\(letters.count) versions seen")
        try await guest.settle()
    }
}
