import Foundation
import LoadClient
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// Clients that stall, dawdle or break off: each hurts itself alone.
@Suite(.serialized) struct BadClientTests {
    @Test @Core func clientsThatStallHurtNobodyElse() async throws {
        let folder = try TestFolder()
        try folder.make(HTTPSite.recipe)
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        var stalled: [HostStream] = []
        for index in 0..<50 {
            let stream = try await HostStream.connect(port: guest.port)
            // Some never send, some stop within a head, some never read their answers.
            if index % 3 == 1 { try await stream.send("GET /a.t") }
            if index % 3 == 2 {
                for _ in 0..<4 { try await stream.send("GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n") }
            }
            stalled.append(stream)
        }
        for _ in 0..<20 { #expect(try await guest.get("/a.txt").body == Array("alpha".utf8)) }
        for stream in stalled { stream.close() }
        for _ in 0..<20 { #expect(try await guest.get("/a.txt").body == Array("alpha".utf8)) }
        try await guest.settle()
    }

    /// A byte a second is too slow for the ten seconds that a head may take.
    @Test @Core func aClientThatDawdlesHurtsNobodyElse() async throws {
        let folder = try TestFolder()
        try folder.make(HTTPSite.recipe)
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        let slow = try await HostStream.connect(port: guest.port)
        defer { slow.close() }
        let answer = Task { @Core in await HTTPAnswerReader(slow).next() }
        let head = "GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n"
        var served = 0
        for byte in head.utf8.prefix(20) {
            // Nobody takes the bytes any more once the answer has come.
            guard (try? await slow.send(String(UnicodeScalar(byte)))) != nil else { break }
            let next = Date(timeIntervalSinceNow: 1)
            while Date() < next {
                #expect(try await guest.get("/a.txt").body == Array("alpha".utf8))
                served += 1
            }
        }
        #expect(await answer.value?.status == 408)
        #expect(served > 20)
        try await guest.settle()
    }

    /// More clients than a server takes that say nothing, or half a word: an honest one is served
    /// at once, and whoever gives way for it hears a word or the end of the stream, no reset.
    @Test(arguments: ["", "GET /a.t"]) @Core
    func clientsThatSayNothingShutNobodyOut(words: String) async throws {
        let folder = try TestFolder()
        try folder.make(HTTPSite.recipe)
        // Nobody's time is over while the test lasts.
        let guest = try RunningGuest(
            sharing: folder.path, memory: "16M", environment: [("PATIENCE", "600")])
        defer { guest.end() }
        var silent: [HostStream] = []
        defer { for stream in silent { stream.close() } }
        for _ in 0..<2_500 {
            silent.append(try await HostStream.connect(port: guest.port))
            if !words.isEmpty { try await silent[silent.count - 1].send(words) }
        }
        let begin = Date()
        for _ in 0..<10 { #expect(try await guest.get("/a.txt").body == Array("alpha".utf8)) }
        // Whoever waited for the silent ones' time to be over would wait for longer.
        #expect(Date().timeIntervalSince(begin) < 500)
        // The first ones gave way.
        for stream in silent[..<100] {
            if words.isEmpty {
                #expect(try await stream.receive() == nil)
            } else {
                #expect(await HTTPAnswerReader(stream).next()?.status == 408)
            }
        }
    }

    /// Connections that are reset before, within and behind a request, while others are served.
    @Test @Core func clientsThatResetHurtNobodyElse() async throws {
        let folder = try TestFolder()
        try folder.make(HTTPSite.recipe)
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        let requests = [
            "", "GET /a.t", "GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST /.echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc",
        ]
        for round in 0..<100 {
            let broken = try ClientSocket(port: guest.port)
            #expect(broken.send(requests[round % 4]))
            #expect(try await guest.get("/a.txt").body == Array("alpha".utf8), "round \(round)")
            broken.reset()
            #expect(try await guest.get("/a.txt").body == Array("alpha".utf8), "round \(round)")
        }
        try await guest.settle()
    }
}
