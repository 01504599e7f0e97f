/*
   eicar.yar: the test file that every scanner knows, and does no harm.

   Read by the yara engine (checks.virus.engine = "yara") when backupmx starts
   and on SIGHUP, with every other *.yar of this folder.  The name of the rule
   that matches is what X-Virus-Status: Yes (...) says.  Try it:
     backupmx explain samples/eicar.eml
*/

rule Eicar_Test_File
{
    meta:
        description = "EICAR anti-malware test file"
    strings:
        // In two halves, so that no scanner mistakes this file for the test file.
        $eicar = /X5O!P%@AP\[4\\PZX54\(P\^\)7CC\)7\}\$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!\$H\+H\*/
    condition:
        $eicar
}
