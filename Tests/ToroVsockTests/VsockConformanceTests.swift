import Testing
import ToroCore
import ToroHTTP
import ToroTesting
import ToroVsock

/// The protocols of streams and of HTTP, through the driver.
@Suite(.timeLimit(.minutes(2))) struct VsockConformanceTests: VsockSuite {
    /// The suite of HTTP, through the driver, with much room and with little on either side.
    @Test(arguments: [(65_536, 65_536), (4_096, 4_096), (700, 65_536), (65_536, 512)]) @Core
    func carriesHTTP(_ room: (guest: UInt32, host: UInt32)) async throws {
        let tree = MemoryTree()
        HTTPSite.recipe.build(in: tree)
        let host = MockVsockHost()
        host.bufferAllocation = room.host
        let driver = try driver(host, room: room.guest)
        let port = try driver.listen(80)
        let clock = VirtualClock()
        let server = Task {
            try? await HTTPServer(files: InMemoryFileSystem(tree), clock: clock).serve(port)
        }
        let conformance = HTTPConformance { await host.connect(to: 80) }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 250)
        #expect(host.violations == [])
        port.close()
        await server.value
        #expect(driver.connectionCount == 0)
        #expect(clock.pendingTimers == 0)
    }

    @Test(arguments: [(65_536, 65_536), (4_096, 4_096), (700, 65_536)]) @Core
    func conformsToTheStreamProtocol(_ room: (guest: UInt32, host: UInt32)) async throws {
        let host = MockVsockHost()
        host.bufferAllocation = room.host
        let driver = try driver(host, room: room.guest)
        let port = try driver.listen(5)
        let conformance = ByteStreamConformance { () -> (VsockStream, MockVsockStream)? in
            guard let client = await host.connect(to: 5), let stream = try? await port.accept()
            else { return nil }
            return (stream, client)
        }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 200)
        #expect(host.violations == [])
        await HostRunLoop.shared.settle()
        #expect(driver.connectionCount == 0 && host.connections.isEmpty)
    }
}
