import Foundation
import Launcher
import Testing

/// The samples, as their readers find them.
@Suite(.serialized) struct SampleTests {
    private func build(_ name: String, root: String = Images.root) throws -> Image {
        try ImageBuild(root: root).build(package: root + "/Samples/" + name)
    }

    @Test func helloWorldSaysHello() throws {
        let image = try build("HelloWorld")
        let (status, console) = try Machine(image: image.path).boot(limit: 60)
        #expect(status == 0)
        #expect(console == "Hello from Toro\n" || console == "Hello from Toro\r\n", "\(console)")
    }

    @Test(arguments: ["HelloWorld", "StaticWebServer"])
    func keepsItsBudget(_ name: String) throws {
        let image = try build(name)
        let size = try ImageSize(of: image, top: 0)
        let budget = try #require(
            try SizeBudget(package: Images.root + "/Samples/" + name), "no size-budget.json")
        #expect(size.bytes <= budget.bytes)
        #expect(size.symbols <= budget.symbols)
        #expect(size.symbols > 100)
        // The parts are of the whole: what no symbol covers is headers, literals and padding.
        let covered = size.units.reduce(0) { $0 + $1.bytes }
        #expect(covered < size.bytes && covered > size.bytes * 3 / 4, "\(covered) of \(size.bytes)")
    }

    /// Two checkouts in two folders, built one after the other.
    @Test func theSameSourcesGiveTheSameBytes() throws {
        let other = try TestFolder()
        for name in ["Package.swift", "Modules", "Platform"] {
            try FileManager.default.copyItem(
                atPath: Images.root + "/" + name, toPath: other.path + "/" + name)
        }
        let sample = "/Samples/HelloWorld"
        try FileManager.default.createDirectory(
            atPath: other.path + sample, withIntermediateDirectories: true)
        for name in ["Package.swift", "Sources"] {
            try FileManager.default.copyItem(
                atPath: Images.root + sample + "/" + name,
                toPath: other.path + sample + "/" + name)
        }
        let (first, second) = (try build("HelloWorld"), try build("HelloWorld", root: other.path))
        #expect(first.path != second.path)
        #expect(
            FileManager.default.contents(atPath: first.path)
                == FileManager.default.contents(atPath: second.path))
    }
}
