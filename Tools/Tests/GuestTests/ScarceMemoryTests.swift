import Testing
import ToroCore
import ToroHost
import ToroTesting

/// Clients that take as much of a small guest's memory as they are given.
@Suite(.serialized) struct ScarceMemoryTests {
    /// Half a request each, then requests whose answers nobody reads with bytes behind them that
    /// nobody asked for: some clients are refused, the guest lives and serves.
    @Test @Core func greedyClientsDoNotEndTheGuest() async throws {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "file")
        try folder.write([UInt8](repeating: 7, count: 8 << 20), to: "large")
        let guest = try RunningGuest(sharing: folder.path, memory: "16M")
        defer { guest.end() }
        var clients: [HostStream] = []
        for _ in 0..<800 {
            let client = try HostStream.connect(port: guest.port)
            clients.append(client)
            _ = try? await client.send("GET /fi")
        }
        for _ in 0..<100 {
            let client = try HostStream.connect(port: guest.port)
            clients.append(client)
            _ = try? await client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n")
        }
        let text = String(repeating: "x", count: 1_024)
        for _ in 0..<64 {
            for client in clients.suffix(100) { _ = try? await client.send(text) }
        }
        for client in clients { client.close() }
        #expect(try await guest.get("/file").body == Array("alpha".utf8))
    }

    /// A head takes memory for the bytes that have come, not for the most that may come.
    @Test @Core func halfAHeadTakesLittleMemory() async throws {
        let folder = try TestFolder()
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        var clients: [HostStream] = []
        defer { for client in clients { client.close() } }
        var figures: [Int] = []
        let asking = try HostStream.connect(port: guest.port)
        defer { asking.close() }
        // The first hundred warm up: tables grow.
        for round in 0..<3 {
            for _ in 0..<100 {
                let client = try HostStream.connect(port: guest.port)
                clients.append(client)
                try await client.send("GET /a.t")
            }
            while try await asking.figure("connections") < 100 * (round + 1) + 1 {}
            figures.append(try await asking.figure("bytes"))
        }
        let each = (figures[2] - figures[1]) / 100
        #expect(each < 6_000, "\(each) bytes for a connection with half a head")
    }
}
