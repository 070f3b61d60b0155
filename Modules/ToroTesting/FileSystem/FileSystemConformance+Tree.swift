import ToroCore

extension FileSystemConformance {
    func checkDirectories() async {
        await expectEntries("void", [])
        await expectEntries("a", [("b", .directory), ("near", .regular)])
        await expectEntries("a/b", [("c", .directory)])
        var many: [(String, FileKind)] = []
        for index in 0..<FileSystemRecipe.manyCount {
            many.append(("name-" + String(index), .regular))
        }
        await expectEntries("many", many)
        if traits.contains(.symbolicLinks) {
            await expectEntries("links/directory", [("c", .directory)])
        }
        // Of the root, only what the recipe put there is known.
        let names = await entries("/")
        for item in FileSystemRecipe.standard(traits).items
        where !item.path.bytes.contains(UInt8(ascii: "/")) {
            let entry = names.first { $0.name == item.path.bytes }
            expect(entry != nil, text(item.path) + " is missing in the root")
        }
    }

    private func expectEntries(_ path: Path, _ wanted: [(String, FileKind)]) async {
        let found = await entries(path)
        expect(found.count == wanted.count, "number of entries in " + text(path))
        for (name, kind) in wanted {
            let bytes = Array(name.utf8)
            let entry = found.first { $0.name == bytes }
            expect(entry != nil, "'" + name + "' is missing in " + text(path))
            expect(entry == nil || entry?.kind == kind, "kind of '" + name + "'")
        }
    }

    private func entries(_ path: Path) async -> [DirectoryEntry] {
        guard let directory = await openDirectory(path) else { return [] }
        var found: [DirectoryEntry] = []
        do throws(FileError) {
            while let entry = try await directory.next(), found.count < 10_000 {
                let name = Path(entry.name)
                expect(entry.name != Array(".".utf8), "'.' is listed in " + text(path))
                expect(entry.name != Array("..".utf8), "'..' is listed in " + text(path))
                expect(!entry.name.isEmpty, "an empty name is listed in " + text(path))
                expect(!found.contains(entry), text(name) + " is listed twice in " + text(path))
                found.append(entry)
            }
            let after = try await directory.next()
            expect(after == nil, "an entry behind the end of " + text(path))
        } catch {
            expect(false, "listing " + text(path) + ": " + error.explanation)
        }
        directory.close()
        return found
    }

    func checkLinks() async {
        let hello = Array("Hello, file system!\n".utf8)
        await expectContents("links/file", hello)
        await expectContents("links/twice", hello)
        await expectContents("links/winding", Array("deep".utf8))
        await expectContents("links/directory/c/deep", Array("deep".utf8))
        // `..` behind a link is the parent of what the link leads to.
        await expectContents("links/directory/../near", Array("near".utf8))
        await expectContents("links/root/hello", hello)
        await expectContents("chain/40", Array("chain".utf8))
        guard let through = await attributes("links/file"), let direct = await attributes("hello"),
            let directory = await attributes("links/directory")
        else { return }
        expect(through == direct, "attributes through a link are not the file's")
        expect(directory.kind == .directory, "attributes of a link are not the directory's")
        await expectOpenRefused("links/directory", .isADirectory)
        await expectOpenDirectoryRefused("links/file", .notADirectory)
    }

    func checkRefusedLinks() async {
        await expectRefused("links/dangling", .notFound)
        await expectRefused("links/absolute", .escapesRoot)
        await expectRefused("links/up", .escapesRoot)
        await expectRefused("links/root/..", .escapesRoot)
        await expectRefused("links/self", .tooManyLinks)
        await expectRefused("links/ping", .tooManyLinks)
        await expectRefused("links/self/x", .tooManyLinks)
        await expectRefused("links/into-file", .notADirectory)
        await expectRefused("links/file/x", .notADirectory)
        await expectRefused("chain/41", .tooManyLinks)
    }

    func checkLinkTexts() async {
        let texts: [(Path, String)] = [
            ("links/file", "../hello"), ("links/absolute", "/hello"), ("links/self", "self"),
            ("links/dangling", "nothing/here"), ("links/root/links/up", "../../hello"),
        ]
        for (path, wanted) in texts {
            do throws(FileError) {
                let found = try await files.readLink(path)
                expect(found == Array(wanted.utf8), "the text of the link " + text(path))
            } catch {
                expect(false, "read link " + text(path) + ": " + error.explanation)
            }
        }
        await expectReadLinkRefused("links/twice/x", .notADirectory)
        await expectReadLinkRefused("links/self/x", .tooManyLinks)
    }
}
