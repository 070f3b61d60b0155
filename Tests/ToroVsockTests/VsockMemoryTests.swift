import Testing
import ToroCore
import ToroTesting

@testable import ToroVsock

/// How many connections a driver takes when memory is short.
@Suite(.timeLimit(.minutes(2))) struct VsockMemoryTests: VsockSuite {
    /// A connection needs 32 KiB, and 16 KiB more for each that the service has not accepted yet:
    /// it keeps what its peer sends. Clients beyond that are refused, and wait outside.
    @Test(arguments: [(31, 0), (32, 1), (47, 1), (48, 2), (79, 3), (80, 4)]) @Core
    func clientsThatWaitKeepMemoryFree(_ example: (kibibytes: Int, clients: Int)) async throws {
        let host = MockVsockHost()
        let driver = try driver(host)
        driver.hasMemory = { $0 <= example.kibibytes << 10 }
        let port = try driver.listen(5)
        var clients: [MockVsockStream] = []
        while clients.count < 10, let client = await host.connect(to: 5) { clients.append(client) }
        #expect(clients.count == example.clients)
        #expect(driver.connectionCount == example.clients)
        guard let first = clients.first else { return }
        // One that is accepted keeps nothing free: the next one has its place.
        let stream = try await port.accept()
        #expect(await host.connect(to: 5) != nil)
        #expect(await host.connect(to: 5) == nil)
        _ = await first.send(try bytes("served"))
        #expect(text(try await stream.receive()) == "served")
        #expect(host.violations == [])
    }
}
