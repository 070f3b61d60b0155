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

    @Test(arguments: ["3x", "é", "Toro", "toro-net", "Self", "-", "a+b", "tmp"])
    func whatIsNoNameIsRefused(_ name: String) {
        #expect(throws: LaunchError.self) { try NewPackage(folder: "/" + name) }
    }
}
