// The program inside the images that are run, not only compared: a static binary that needs nothing.
package main

import "fmt"

func main() {
	fmt.Println("hello from the image")
}
