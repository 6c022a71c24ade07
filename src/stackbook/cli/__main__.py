from stackbook.cli import main

main()
