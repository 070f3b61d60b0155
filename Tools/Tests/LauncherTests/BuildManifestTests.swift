import Foundation
import Testing

@testable import Launcher

@Suite struct BuildManifestTests {
    private let text = """
        client:
          name: basic
        targets:
          "main": ["<all>"]
        commands:
          "/b/list":
            tool: write-auxiliary-file
            inputs: ["/s/"]
            outputs: ["/b/list"]

          "C.a":
            tool: shell
            inputs: ["/s/a.swift","/b/list"]
            outputs: ["/b/a.o","/b/a.swiftmodule"]
            args: ["/bin/swiftc","-DX=\\"y z\\"","-c"]

          "C.exe":
            tool: shell
            inputs: ["/b/a.o","/b/missing.o"]
            outputs: ["/b/exe"]
            args: ["/bin/swiftc","-o","/b/exe"]

          "PackageStructure":
            tool: package-structure-tool
            inputs: ["/s/","/Package.swift"]
            outputs: ["<PackageStructure>"]

        """

    @Test func whatMakesAFileComesInOrder() throws {
        let manifest = try #require(BuildManifest(text))
        let (commands, sources) = manifest.commands(for: "/b/exe")
        #expect(commands.map(\.name) == ["/b/list", "C.a", "C.exe"])
        #expect(commands[1].1.arguments == ["/bin/swiftc", "-DX=\"y z\"", "-c"])
        #expect(sources == ["/s/", "/s/a.swift", "/b/missing.o"])
        #expect(manifest.structure == ["/s/", "/Package.swift"])
    }

    @Test func whatIsNoListIsNone() {
        #expect(BuildManifest(text.replacingOccurrences(of: "\"-c\"]", with: "\"-c\"")) == nil)
        #expect(BuildManifest("") == nil)
    }

    @Test func wordsLoseTheirQuotes() {
        let line = #" "/bin/ld" 'a b'  c\ d "e\"f" -rpath=\$ORIGIN '' "#
        #expect(
            ShellWords.split(line) == ["/bin/ld", "a b", "c d", "e\"f", "-rpath=$ORIGIN", ""])
        #expect(ShellWords.split(ShellWords.quoted("it's \\ \"it\"")) == ["it's \\ \"it\""])
        #expect(ShellWords.split("'open") == nil)
        #expect(ShellWords.split("")?.isEmpty == true)
    }
}
