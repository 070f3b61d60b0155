import Testing
import ToroCore
import ToroHTTP
import ToroProcess
import ToroTesting

@testable import ToroHost

/// Closing TCP connections in order, with real sockets.
@Suite(.timeLimit(.minutes(5))) struct HostClosingTests {
    /// A server that refuses every request without a look at its body.
    @Core private func refuser(
        _ limits: HTTPLimits = HTTPLimits()
    ) throws -> (HostListener, Task<()?, Never>) {
        let listener = try HostListener(port: 0)
        let server = Task { @Core in
            try? await HTTPServer(limits: limits) { _ in HTTPResponse(.methodNotAllowed) }
                .serve(listener)
        }
        return (listener, server)
    }

    @Core private func send(_ text: String, on stream: HostStream) async throws {
        var buffer = try IOBuffer(capacity: text.utf8.count)
        for byte in text.utf8 { buffer.append(byte) }
        _ = try await stream.send(buffer).result.get()
    }

    /// As Python's http.client does it: the whole body first, then a look at the answer.
    @Test(arguments: [4, 8, 12]) @Core func aRefusedUploadHearsWhy(megabytes: Int) async throws {
        let (listener, server) = try refuser()
        for (length, status) in [(megabytes << 20, 405), (64 << 20, 413)] {
            let client = try await HostStream.connect(port: listener.port)
            try await send(
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(length)\r\n\r\n", on: client)
            let piece = String(repeating: "x", count: 1 << 20)
            for _ in 0..<megabytes { try await send(piece, on: client) }
            #expect(await HTTPAnswerReader(client).next()?.status == status)
            client.close()
        }
        listener.close()
        _ = await server.value
    }

    /// Reads nothing for longer than a client may be idle and than one may stall while it is sent
    /// to, in steps in each of which it takes something.
    @Test @Core func aSlowReaderGetsEverything() async throws {
        var limits = HTTPLimits()
        limits.idleTime = .milliseconds(200)
        limits.sendTime = .seconds(10)
        let size = 16 << 20
        let listener = try HostListener(port: 0)
        let server = Task { @Core in
            try? await HTTPServer(limits: limits) { _ in
                HTTPResponse(type: "x/y", bytes: [UInt8](repeating: 7, count: size))
            }.serve(listener)
        }
        let client = try await HostStream.connect(port: listener.port)
        try await send("GET / HTTP/1.1\r\nHost: h\r\n\r\n", on: client)
        var count = 0
        var pauses = 0
        while count < size, let buffer = try await client.receive() {
            count += buffer.count
            if count > (pauses + 1) << 21, pauses < 7 {
                pauses += 1
                try await sleep(for: .milliseconds(1_500))
            }
        }
        #expect(count >= size && pauses == 7)
        client.close()
        listener.close()
        _ = await server.value
    }

    /// Both ends of a connection.
    @Core private func pair() async throws -> (HostStream, HostStream) {
        let listener = try HostListener(port: 0)
        defer { listener.close() }
        let client = try await HostStream.connect(port: listener.port)
        return (try await listener.accept(), client)
    }

    @Core private func wait(until condition: () -> Bool) async throws {
        let limit = HostCore.shared.now + .seconds(UInt64(Patience.seconds))
        while !condition(), HostCore.shared.now < limit {
            try await sleep(for: .milliseconds(10))
        }
        #expect(condition())
    }

    @Test @Core func aPeerThatEndsIsWaitedForNoLonger() async throws {
        let (server, client) = try await pair()
        server.linger.dropTime = .seconds(600)
        try await send("bye", on: server)
        server.close()
        try await sleep(for: .milliseconds(50))
        #expect(server.readiness.isOpen)
        client.close()
        try await wait { !server.readiness.isOpen && !client.readiness.isOpen }
        #expect(server.progress == StreamProgress(accepted: 3, acknowledged: 3))
    }

    @Test @Core func aPeerThatDoesNotEndIsGivenUp() async throws {
        let (server, client) = try await pair()
        server.linger.dropTime = .milliseconds(100)
        server.close()
        #expect(server.readiness.isOpen)
        try await wait { !server.readiness.isOpen }
        client.abort()
    }

    @Test @Core func aPeerThatSendsWithoutEndIsGivenUp() async throws {
        let (server, client) = try await pair()
        server.linger.dropBytes = 100_000
        server.close()
        let text = String(repeating: "x", count: 10_000)
        var sent = 0
        while sent < 100_000_000, (try? await send(text, on: client)) != nil { sent += text.count }
        #expect(sent > 90_000 && sent < 100_000_000 && !server.readiness.isOpen)
        client.close()
    }

    /// What the system has taken of us is for a peer that takes it.
    @Test @Core func aPeerThatTakesNothingIsReset() async throws {
        let (server, client) = try await pair()
        server.linger.stallTime = .milliseconds(100)
        server.linger.lookTime = .milliseconds(20)
        let flood = Task { @Core in
            try await send(String(repeating: "x", count: 8 << 20), on: server)
        }
        try await sleep(for: .milliseconds(50))
        server.close()
        try await wait { !server.readiness.isOpen }
        if case .success = await flood.result { Issue.record("all was taken") }
        #expect(!server.progress.isComplete)
        var error: StreamError?
        do throws(StreamError) {
            while try await client.receive() != nil {}
        } catch let caught {
            error = caught
        }
        #expect(error == .reset)
        client.close()
    }

    /// After the close, too, only a peer that takes nothing at all has stalled: one that reads with
    /// pauses gets all that was accepted.
    @Test @Core func aPeerThatPausesGetsEverything() async throws {
        let (server, client) = try await pair()
        server.linger.stallTime = .seconds(600)
        server.linger.lookTime = .milliseconds(10)
        let flood = Task { @Core in
            try await send(String(repeating: "x", count: 32 << 20), on: server)
        }
        try await wait { server.accepted > 1 << 16 }
        server.close()
        _ = await flood.result
        var count: UInt64 = 0
        var pauses: UInt64 = 0
        while let buffer = try await client.receive() {
            count += UInt64(buffer.count)
            guard count > pauses << 17, pauses < 4 else { continue }
            pauses += 1
            try await sleep(for: .milliseconds(100))
        }
        #expect(count == server.accepted && pauses > 0)
        client.close()
    }

    /// The process stays for its closed connections, for a while.
    @Test @Core func theProcessWaitsForClosedConnections() async throws {
        let (server, client) = try await pair()
        server.linger.dropTime = .seconds(600)
        server.close()
        let clock = HostCore.shared
        let start = clock.now
        await clock.settleClosed(within: .milliseconds(100))
        #expect(clock.now - start >= .milliseconds(100))
        client.close()
        try await wait { !server.readiness.isOpen }
    }
}
