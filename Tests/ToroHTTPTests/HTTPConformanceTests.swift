import Testing
import ToroCore
import ToroHTTP
import ToroTesting

@Suite(.timeLimit(.minutes(5))) struct HTTPConformanceTests {
    @Test(arguments: [65_536, 1, 7]) @Core
    func conformsHoweverTheBytesCome(bytesPerReceive: Int) async {
        let tree = MemoryTree()
        HTTPSite.recipe.build(in: tree)
        let bench = Bench(tree)
        bench.port.bytesPerReceive = bytesPerReceive
        let conformance = HTTPConformance { bench.port.connect() }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 250)
        #expect(await bench.stop() == nil)
        #expect(bench.clock.pendingTimers == 0)
    }
}
