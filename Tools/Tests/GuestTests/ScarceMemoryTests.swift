import Foundation
import Launcher
import LoadClient
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// Clients that take as much of a small guest's memory as they are given.
@Suite(.serialized) struct ScarceMemoryTests {
    /// More than the guest has memory for: answers that nobody reads, and half a request each. An
    /// answer takes 8 KiB at least, half of it for a block of the file, as long as its client takes
    /// its time; so of so many readers some are refused. Each other client is served whole, told that
    /// it is not, or closed. Then everybody is served again.
    @Test @Core func greedyClientsDoNotEndTheGuest() async throws {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "file")
        try folder.write([UInt8](repeating: 7, count: 8 << 20), to: "large")
        // Nobody's time is over while the test lasts: no memory comes back by that.
        let guest = try RunningGuest(
            sharing: folder.path, memory: "4M", environment: [("SENDTIME", "6000")])
        defer { guest.end() }
        let (readers, clients) = try greedyClients(of: guest, readers: 600)
        try await awaitRefusal(of: readers)
        for client in clients { _ = client.send(Self.rest) }
        for client in clients {
            let answer = client.receiveAll()
            let text = String(decoding: answer.bytes, as: UTF8.self)
            if text.hasPrefix("HTTP/1.1 200 "), text.hasSuffix("\r\n\r\nalpha") { continue }
            let isToldSo = text.isEmpty && answer.last != .nothing || isRefusal(text)
            #expect(isToldSo, "\(text), \(answer.last)")
        }
        for reader in readers { reader.close() }
        try await guest.settle()
        for _ in 0..<50 { #expect(try await guest.get("/file").body == Array("alpha".utf8)) }
    }

    /// Waits until one of the clients has been told that it is not served, or been closed.
    private func awaitRefusal(of clients: [ClientSocket]) async throws {
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        var (waiting, head) = (clients, [UInt8](repeating: 0, count: 12))
        while true {
            for client in waiting {
                switch client.receive(into: &head, limit: 0) {
                case .nothing: continue
                case .bytes(let count):
                    if isRefusal(String(decoding: head[..<count], as: UTF8.self)) { return }
                    waiting.removeAll { $0 === client }
                case .end, .reset: return
                }
            }
            guard Date() < limit else { throw LaunchError("the guest had memory for all") }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Requests that came while the file daemon stood still, all of them under way at once when it
    /// goes on: their tasks and objects take more than a small guest has, and cannot be refused it.
    /// So most wait for their turn.
    @Test @Core func aStandstillOfTheFilesIsSurvived() async throws {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "file")
        try folder.write([UInt8](repeating: 7, count: 8 << 20), to: "large")
        let guest = try RunningGuest(
            sharing: folder.path, memory: "4M", environment: [("SENDTIME", "10")])
        defer { guest.end() }
        let (readers, clients) = try greedyClients(of: guest)
        // The guest takes as many as it has memory for.
        try await Task.sleep(for: .seconds(2))
        let daemons = guest.processes.filter { $0.name.contains("virtiofsd") }
        #expect(!daemons.isEmpty)
        for daemon in daemons { kill(daemon.pid, SIGSTOP) }
        for client in clients { _ = client.send(Self.rest) }
        try await Task.sleep(for: .seconds(1))
        for daemon in daemons { kill(daemon.pid, SIGCONT) }
        for client in clients {
            let answer = client.receiveAll()
            let text = String(decoding: answer.bytes, as: UTF8.self)
            let isServed = text.hasPrefix("HTTP/1.1 200 ") && text.hasSuffix("\r\n\r\nalpha")
            #expect(isServed || text.isEmpty && answer.last != .nothing || isRefusal(text))
        }
        for reader in readers { reader.close() }
        try await guest.settle()
        for _ in 0..<20 { #expect(try await guest.get("/file").body == Array("alpha".utf8)) }
    }

    /// What the half requests of greedy clients lack.
    private static let rest = "le HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

    /// Clients that ask for a large file and read nothing, and more with half a request each.
    @Core private func greedyClients(
        of guest: RunningGuest, readers count: Int = 100
    ) throws -> (readers: [ClientSocket], halves: [ClientSocket]) {
        let readers = try (0..<count).map { _ in try ClientSocket(port: guest.port) }
        for reader in readers { _ = reader.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n") }
        let halves = try (0..<800).map { _ in try ClientSocket(port: guest.port) }
        for client in halves { _ = client.send("GET /fi") }
        return (readers, halves)
    }

    /// Whether an answer says that the server is busy, or that a head was half for too long.
    private func isRefusal(_ text: String) -> Bool {
        text.hasPrefix("HTTP/1.1 503") || text.hasPrefix("HTTP/1.1 408")
    }

    /// A head takes memory for the bytes that have come, not for the most that may come.
    @Test @Core func halfAHeadTakesLittleMemory() async throws {
        let folder = try TestFolder()
        let guest = try RunningGuest(
            sharing: folder.path, environment: [("PATIENCE", "600")])
        defer { guest.end() }
        var clients: [HostStream] = []
        defer { for client in clients { client.close() } }
        var figures: [Int] = []
        let asking = try await HostStream.connect(port: guest.port)
        defer { asking.close() }
        // The first hundred warm up: tables grow.
        for round in 0..<3 {
            for _ in 0..<100 {
                let client = try await HostStream.connect(port: guest.port)
                clients.append(client)
                try await client.send("GET /a.t")
            }
            let (all, limit) = (100 * (round + 1) + 1, Date(timeIntervalSinceNow: Patience.seconds))
            while try await asking.figure("connections") < all, Date() < limit {}
            #expect(try await asking.figure("connections") == all)
            figures.append(try await asking.figure("bytes"))
        }
        let each = (figures[2] - figures[1]) / 100
        // Room for a whole head would be 16 KiB more.
        #expect(each < 8_000, "\(each) bytes for a connection with half a head")
    }

    /// The status of an answer with a file, 0 for none, and the length of what came of it.
    @Core private func ask(_ target: String, of guest: RunningGuest) async -> (Int, Int) {
        guard let stream = try? await HostStream.connect(port: guest.port) else { return (0, 0) }
        defer { stream.close() }
        var head: [UInt8] = []
        var count = 0
        do {
            try await stream.send("GET \(target) HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            while let buffer = try await stream.receive() {
                count += buffer.count
                if head.count < 12 {
                    buffer.withBytes { span in
                        // SAFETY: the bytes are copied within the call.
                        unsafe span.withUnsafeBytes { unsafe head.append(contentsOf: $0) }
                    }
                }
            }
        } catch {}
        let status = String(decoding: head.dropFirst(9).prefix(3), as: UTF8.self)
        return (Int(status) ?? 0, count)
    }

    /// Far more readers than a guest has memory for at a time: they wait for one another, and who
    /// cannot be served is told so, or let go; nobody hears that the service is broken.
    @Test(arguments: ["2M", "3M", "4M"]) @Core
    func moreReadersThanMemoryAreServedOrRefused(memory: String) async throws {
        let folder = try TestFolder()
        let size = 5_000_000
        try folder.write([UInt8](repeating: 7, count: size), to: "large")
        try folder.write(Array("alpha".utf8), to: "small")
        let guest = try RunningGuest(sharing: folder.path, memory: memory)
        defer { guest.end() }
        let readers = (0..<200).map { _ in Task { @Core in await ask("/large", of: guest) } }
        var whole = 0
        for reader in readers {
            let (status, count) = await reader.value
            #expect([0, 200, 503].contains(status))
            if status == 200, count > size { whole += 1 }
        }
        // How many get all of it while the others have patience is a matter of the host's speed.
        #expect(whole > 0, "no whole answer")
        #expect(try await guest.get("/small").body == Array("alpha".utf8))
        #expect(await ask("/large", of: guest).1 > size)
    }

    /// Two hundred heads of 8 kB, each without its end: whoever asks properly is served meanwhile,
    /// and those who wait are told so or let go.
    @Test @Core func halfHeadsInASmallGuestGiveWay() async throws {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "small")
        let guest = try RunningGuest(sharing: folder.path, memory: "3M")
        defer { guest.end() }
        let half =
            "GET /small HTTP/1.1\r\nHost: h\r\nCookie: " + String(repeating: "c", count: 8_000)
        var clients: [HostStream] = []
        defer { for client in clients { client.close() } }
        for _ in 0..<200 {
            let client = try await HostStream.connect(port: guest.port)
            clients.append(client)
            _ = try? await client.send(half)
        }
        var served = false
        for _ in 0..<5 where !served { served = await ask("/small", of: guest).0 == 200 }
        #expect(served)
        for _ in 0..<20 { #expect(try await guest.get("/small").body == Array("alpha".utf8)) }
    }
}
