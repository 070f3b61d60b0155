import ToroCore
import ToroTesting

@testable import ToroHTTP

/// A server over a port in memory, and a client that reads what it answers.
@Core final class Bench {
    let port = InMemoryListener()
    let clock: VirtualClock
    private let task: Task<HTTPServerError?, Never>

    init(
        limits: HTTPLimits = HTTPLimits(), wallTime: WallTime? = nil,
        hasMemory: @escaping @Core (Int) -> Bool = { _ in true },
        _ handler: @escaping HTTPServer.Handler
    ) {
        let clock = VirtualClock(wallTime: wallTime)
        self.clock = clock
        let port = port
        var server = HTTPServer(limits: limits, clock: clock, handler)
        server.hasMemory = hasMemory
        task = Task { [server] in
            do throws(HTTPServerError) {
                try await server.serve(port)
                return nil
            } catch { return error }
        }
    }

    convenience init(
        _ tree: MemoryTree, listing: Bool = false, limits: HTTPLimits = HTTPLimits(),
        wallTime: WallTime? = nil
    ) {
        self.init(
            InMemoryFileSystem(tree), listing: listing, limits: limits, wallTime: wallTime)
    }

    init(
        _ files: InMemoryFileSystem, listing: Bool = false, limits: HTTPLimits = HTTPLimits(),
        wallTime: WallTime? = nil
    ) {
        let clock = VirtualClock(wallTime: wallTime)
        self.clock = clock
        let port = port
        task = Task {
            do throws(HTTPServerError) {
                try await HTTPServer(files: files, listing: listing, limits: limits, clock: clock)
                    .serve(port)
                return nil
            } catch { return error }
        }
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
        return await task.value
    }

    func cancel() async -> HTTPServerError? {
        task.cancel()
        return await task.value
    }
}
