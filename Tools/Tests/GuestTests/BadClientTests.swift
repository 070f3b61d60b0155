import Foundation
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
            let stream = try HostStream.connect(port: guest.port)
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
        let slow = try HostStream.connect(port: guest.port)
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
            silent.append(try HostStream.connect(port: guest.port))
            if !words.isEmpty { try await silent[silent.count - 1].send(words) }
        }
        let begin = Date()
        for _ in 0..<10 { #expect(try await guest.get("/a.txt").body == Array("alpha".utf8)) }
        #expect(Date().timeIntervalSince(begin) < Patience.seconds)
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
            let broken = try BrokenClient(port: guest.port, sending: requests[round % 4])
            #expect(try await guest.get("/a.txt").body == Array("alpha".utf8), "round \(round)")
            broken.reset()
            #expect(try await guest.get("/a.txt").body == Array("alpha".utf8), "round \(round)")
        }
        try await guest.settle()
    }
}

/// A client that ends its connection with a reset (socket(7), SO_LINGER with no time).
private struct BrokenClient {
    private let file: Int32

    /// Connects to a port of this host and sends `text`.
    init(port: UInt16, sending text: String) throws {
        file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var limit = linger(l_onoff: 1, l_linger: 0)
        // SAFETY: each call gets a structure that outlives it, and its size.
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0, "connect: errno \(errno)")
        let option = unsafe setsockopt(
            file, SOL_SOCKET, SO_LINGER, &limit, socklen_t(MemoryLayout<linger>.size))
        try #require(option == 0, "setsockopt: errno \(errno)")
        let bytes = Array(text.utf8)
        // SAFETY: the length is the array's.
        let sent = unsafe send(file, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        try #require(sent == bytes.count, "send: errno \(errno)")
    }

    /// Ends the connection, with a reset.
    func reset() { close(file) }
}
