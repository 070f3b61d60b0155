import Greeter
import Testing
import ToroCore
import ToroTesting

/// The greeter with its devices swapped: files in memory, callers and time from the test.
@Suite struct GreeterTests {
    @Core private func answer(to path: String, from texts: InMemoryFileSystem) async -> HTTPAnswer?
    {
        let port = InMemoryListener()
        let service = Task {
            try? await Greeter(texts: texts, port: port, clock: VirtualClock()).run()
        }
        let client = port.connect()
        client.inject(Array("GET \(path) HTTP/1.1\r\nHost: test\r\n\r\n".utf8))
        let answer = await HTTPAnswerReader(client).next()
        client.close()
        port.close()
        await service.value
        return answer
    }

    @Core private func texts() -> InMemoryFileSystem {
        let tree = MemoryTree()
        tree.addFile("/greeting.txt", "Good evening")
        return InMemoryFileSystem(tree)
    }

    @Test @Core func greetsByName() async {
        let answer = await answer(to: "/Ada", from: texts())
        #expect(answer?.status == 200)
        #expect(answer.map { String(decoding: $0.body, as: UTF8.self) } == "Good evening, Ada!\n")
    }

    @Test @Core func asksForAName() async {
        #expect(await answer(to: "/", from: texts())?.status == 404)
    }

    @Test @Core func survivesAFailingDisk() async {
        let texts = texts()
        texts.faults.failNext(with: .deviceFailed)
        #expect(await answer(to: "/Ada", from: texts)?.status == 503)
        #expect(await answer(to: "/Ada", from: texts)?.status == 200)
        #expect(texts.openFiles == 0)
    }
}
