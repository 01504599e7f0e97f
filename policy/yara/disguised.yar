/*
   disguised.yar: programs that pretend to be documents.

   An attachment whose name ends like a document and then like a program
   ("invoice.pdf.exe") is never an honest mistake.  A plain program
   ("setup.exe") may be one: it is left to ClamAV and to your own rules.
*/

rule Program_Named_Like_A_Document
{
    meta:
        description = "attachment name with a document's ending and then a program's"
    strings:
        $name = /name\*?=[^\r\n]{0,200}\.(pdf|docx?|xlsx?|pptx?|rtf|txt|jpe?g|png|gif|zip|html?)[ _]{0,80}\.(exe|scr|com|pif|bat|cmd|vbs|vbe|js|jse|wsf|hta|lnk|msi)["'; \r\n]/ nocase
    condition:
        $name
}
