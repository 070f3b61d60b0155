import Testing
import ToroCore
import ToroHTTP
import ToroTesting

/// The names in a directory, for those who want them shown.
@Suite(.timeLimit(.minutes(5))) struct HTTPListingTests {
    @Core private func tree() -> MemoryTree {
        let tree = MemoryTree()
        tree.addDirectory("/with")
        tree.addFile("/with/index.html", "the index")
        tree.addFile("/with/hidden by it", "")
        tree.addDirectory("/without")
        tree.addDirectory("/without/sub")
        tree.addFile("/without/a:b", "")
        tree.addFile("/without/<\"&'> ?#%", "")
        tree.addFile(Path(Array("/without/".utf8) + [0xff]), "")
        tree.addDirectory("/void")
        return tree
    }

    @Core private func get(_ target: String, from bench: Bench) async -> String {
        await bench.answer("GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n")
    }

    @Test @Core func withoutItADirectoryShowsNothing() async {
        let bench = Bench(tree())
        for target in ["/", "/without/", "/void/"] {
            let answer = await get(target, from: bench)
            #expect(answer.hasPrefix("HTTP/1.1 404 ") && !answer.contains("sub"), "\(target)")
        }
        #expect(await get("/with/", from: bench).hasSuffix("the index"))
        #expect(await bench.stop() == nil)
    }

    @Test @Core func withItTheNamesAreLinks() async {
        let bench = Bench(tree(), listing: true)
        let answer = await get("/without/", from: bench)
        #expect(answer.hasPrefix("HTTP/1.1 200 "))
        #expect(answer.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"))
        for link in [
            "<li><a href=\"./sub/\">sub/</a>\n", "<a href=\"./a%3Ab\">a:b</a>\n",
            "<a href=\"./%3C%22%26%27%3E%20%3F%23%25\">&lt;&quot;&amp;&#39;&gt; ?#%</a>\n",
            "<a href=\"./%FF\">",
        ] { #expect(answer.contains(link), "\(link) is not in \(answer)") }
        #expect(answer.split(separator: "<li>").count == 5)
        #expect(await bench.stop() == nil)
    }

    /// Each link leads back to the file it names.
    @Test @Core func theLinksLeadToTheFiles() async {
        let bench = Bench(tree(), listing: true)
        let page = await get("/without/", from: bench)
        let links = page.split(separator: "href=\"./").dropFirst().map { $0.prefix { $0 != "\"" } }
        #expect(links.count == 4)
        for link in links {
            #expect(
                await get("/without/" + link, from: bench).hasPrefix("HTTP/1.1 200 "), "\(link)")
        }
        #expect(await bench.stop() == nil)
    }

    @Test @Core func anIndexComesFirst() async {
        let bench = Bench(tree(), listing: true)
        let answer = await get("/with/", from: bench)
        #expect(answer.hasSuffix("the index") && !answer.contains("hidden by it"))
        #expect(await bench.stop() == nil)
    }

    @Test @Core func whatIsNoDirectoryIsNotListed() async {
        let bench = Bench(tree(), listing: true)
        #expect(await get("/nothing/", from: bench).hasPrefix("HTTP/1.1 404 "))
        #expect(await get("/with/index.html/", from: bench).hasPrefix("HTTP/1.1 404 "))
        let redirect = await get("/without", from: bench)
        #expect(redirect.hasPrefix("HTTP/1.1 301 "))
        #expect(redirect.contains("\r\nLocation: /without/\r\n"))
        #expect(await get("/void/", from: bench).contains("<ul>\n</ul>"))
        #expect(await bench.stop() == nil)
    }

    /// A list longer than the page it is written in goes out whole.
    @Test @Core func aLongListIsWhole() async {
        let tree = MemoryTree()
        tree.addDirectory("/many")
        for index in 0..<1_000 { tree.addFile(Path("/many/name-\(index)"), "") }
        let bench = Bench(tree, listing: true)
        let client = bench.port.connect()
        client.inject(Array("GET /many/ HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
        let answer = await HTTPAnswerReader(client).next()
        let page = String(decoding: answer?.body ?? [], as: UTF8.self)
        for index in 0..<1_000 { #expect(page.contains(">name-\(index)<")) }
        client.close()
        #expect(await bench.stop() == nil)
    }
}
