import Foundation
import Launcher
import Testing

/// What `toro new` makes is a package as it stands.
@Suite(.serialized) struct NewPackageTests {
    @Test func whatIsMadeBuildsAndPassesItsTests() throws {
        let folder = try TestFolder()
        let run = try ToroProcess(["new", folder.path + "/web-shop"])
        #expect(run.status() == 0, "\(run.output)")
        let package = folder.path + "/web-shop"
        #expect(FileManager.default.fileExists(atPath: package + "/.git"))
        let image = try ImageBuild(root: Images.root, configuration: .debug).build(package: package)
        #expect(image.path.hasSuffix("/WebShopVM.image"))
        #expect(image.manifest.ports?.first?.guest == 80)
        let swift = try #require(Command.find("swift"))
        let tested = try Command.capture(
            swift, ["test", "--package-path", package, "--disable-build-manifest-caching"])
        #expect(tested.status == 0, "\(tested.output)")
        #expect(tested.output.contains("3 tests"), "\(tested.output)")
    }

    @Test(arguments: [("web-shop", "WebShop"), ("a_b.c", "ABC"), ("x1", "X1")])
    func aModuleIsCalledAsItsFolder(_ example: (folder: String, module: String)) throws {
        #expect(try NewPackage(folder: "/no/such/" + example.folder).module == example.module)
    }

    @Test(arguments: ["3x", "é", "Toro", "toro-net", "Self", "-", "a+b", "tmp", "test", "array"])
    func whatIsNoNameIsRefused(_ name: String) {
        #expect(throws: LaunchError.self) { try NewPackage(folder: "/" + name) }
    }

    /// Whatever the template's sources name is no name for a service: it would mean two things.
    @Test func aNameOfTheTemplateIsRefused() throws {
        let template = Images.root + "/Samples/Template"
        let sources = try FileManager.default.subpathsOfDirectory(atPath: template)
            .filter { $0.hasSuffix(".swift") && $0.contains("/") && !$0.hasPrefix(".") }
        #expect(sources.count >= 4)
        for source in sources {
            let text = try String(contentsOfFile: template + "/" + source, encoding: .utf8)
                .replacing(#/(?m)//.*$/#, with: "").replacing(#/"[^"]*"/#, with: "")
            for word in text.matches(of: #/\b[A-Z][A-Za-z0-9]*/#).map({ String($0.output) })
            where !word.hasPrefix("Greeter") {
                #expect(throws: LaunchError.self, "\(word)") {
                    try NewPackage(folder: "/no/such/" + word)
                }
            }
        }
    }

    /// A file of the package has a longer name than its folder, which is all that can be too long.
    @Test func nothingIsLeftOfWhatCannotBeMade() throws {
        let folder = try TestFolder()
        let name = folder.path + "/" + String(repeating: "n", count: 250)
        #expect {
            try NewPackage(folder: name).make(root: Images.root, url: nil)
        } throws: { "\($0)".hasSuffix(": File name too long") }
        #expect(!FileManager.default.fileExists(atPath: name))
        try "".write(toFile: folder.path + "/file", atomically: false, encoding: .utf8)
        #expect {
            try NewPackage(folder: folder.path + "/file/x").make(root: Images.root, url: nil)
        } throws: { "\($0)".hasSuffix(": Not a directory") }
    }

    /// The words that are printed are typed as they stand, and `..` is where the kernel finds it.
    @Test func aFolderIsWhereItIsSaidToBe() throws {
        let folder = try TestFolder()
        try FileManager.default.createDirectory(
            atPath: folder.path + "/far/away", withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(
            atPath: folder.path + "/link", withDestinationPath: "far/away")
        let run = try ToroProcess(["new", folder.path + "/link/../two words"])
        #expect(run.status() == 0, "\(run.output)")
        #expect(
            FileManager.default.fileExists(atPath: folder.path + "/far/two words/Package.swift"))
        #expect(run.output.contains("cd '\(folder.path)/link/../two words'"), "\(run.output)")
    }
}
