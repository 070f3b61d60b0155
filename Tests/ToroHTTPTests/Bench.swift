import Testing
import ToroCore
import ToroTesting

@testable import ToroHTTP

/// A server over a port in memory, and a client that reads what it answers.
@Core final class Bench {
    let port: InMemoryListener
    let clock: VirtualClock
    private let task: Task<HTTPServerError?, Never>
    private let end: End

    /// Whether the server has ended.
    @Core private final class End {
        var isReached = false
    }

    private init(_ server: HTTPServer, _ clock: VirtualClock) {
        let (port, end) = (InMemoryListener(), End())
        self.port = port
        self.clock = clock
        self.end = end
        task = Task { [server] in
            defer { end.isReached = true }
            do throws(HTTPServerError) {
                try await server.serve(port)
                return nil
            } catch { return error }
        }
    }

    convenience init(
        limits: HTTPLimits = HTTPLimits(), wallTime: WallTime? = nil,
        hasMemory: @escaping @Core (Int) -> Bool = { _ in true },
        _ handler: @escaping HTTPServer.Handler
    ) {
        let clock = VirtualClock(wallTime: wallTime)
        var server = HTTPServer(limits: limits, clock: clock, handler)
        server.hasMemory = hasMemory
        self.init(server, clock)
    }

    convenience init(
        _ tree: MemoryTree, listing: Bool = false, limits: HTTPLimits = HTTPLimits(),
        wallTime: WallTime? = nil
    ) {
        self.init(
            InMemoryFileSystem(tree), listing: listing, limits: limits, wallTime: wallTime)
    }

    convenience init(
        _ files: InMemoryFileSystem, listing: Bool = false, limits: HTTPLimits = HTTPLimits(),
        wallTime: WallTime? = nil
    ) {
        let clock = VirtualClock(wallTime: wallTime)
        self.init(
            HTTPServer(files: files, listing: listing, limits: limits, clock: clock), clock)
    }

    /// What the server answers to `text` on a connection of its own until it waits again.
    func answer(_ text: String) async -> String {
        let client = port.connect()
        let answer = await answer(text, on: client)
        client.close()
        await settle()
        return answer
    }

    func answer(_ text: String, on client: InMemoryStream) async -> String {
        client.inject(Array(text.utf8))
        return await rest(client)
    }

    func rest(_ client: InMemoryStream) async -> String {
        await settle()
        var bytes = client.takeAll()
        while true {
            await settle()
            let more = client.takeAll()
            if more.isEmpty { break }
            bytes += more
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    func settle() async { await HostRunLoop.shared.settle() }

    /// Closes the port; the server's error.
    func stop() async -> HTTPServerError? {
        port.close()
        return await outcome()
    }

    func cancel() async -> HTTPServerError? {
        task.cancel()
        return await outcome()
    }

    /// What the server ends with; nil, and an issue, if it does not.
    private func outcome() async -> HTTPServerError? {
        await settle()
        // Of a cancelled task not everything comes by the run loop; by the pool, as each of these.
        for _ in 0..<10_000 where !end.isReached {
            try? await Task.sleep(for: .milliseconds(1))
            await settle()
        }
        guard end.isReached else {
            Issue.record("the server does not end")
            return nil
        }
        return await task.value
    }
}
